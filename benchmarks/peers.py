"""The peers of `rolekd bench augment`, one process per core.

Each process makes its own share of the images and augments it, image by image, over and over;
the rates of all processes are added. Nothing is sent between processes, in the peers' favour: a
data loader would have to hand every image over.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import pillow
from rolekd.augment import draws
from rolekd.augment import recipe as recipes
from rolekd.augment.policy import Policy
from rolekd.augment.recipe import Base

SHARE = 256  # images of a process
Shape = tuple[int, int, int]
_Step = Callable[[int], object]  # augments image number i

_barrier: Barrier | None = None


def images(count: int, shape: Shape, seed: int = 0) -> NDArray[np.uint8]:
    """Make images [count, *shape] with smooth structure and some noise, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, shape[2]))
    smooth = coarse.repeat(-(-shape[0] // 4), axis=1).repeat(-(-shape[1] // 4), axis=2)
    made = np.empty((count, *shape), np.uint8)
    for i in range(count):
        noise = rng.normal(0, 20, shape)
        made[i] = np.clip(smooth[i, : shape[0], : shape[1]] + noise, 0, 255)
    return made


class Peers:
    """Processes that measure a peer together."""

    def __init__(self, cores: int) -> None:
        context = get_context("spawn")
        self.cores = cores
        self._pool = ProcessPoolExecutor(
            cores, context, initializer=_start, initargs=(context.Barrier(cores),)
        )

    def rate(self, peer: str, shape: Shape, seconds: float, **options: Any) -> float:
        """Return images per second of all processes together."""
        jobs = [
            self._pool.submit(_rate, peer, shape, seconds, number, options)
            for number in range(self.cores)
        ]
        return sum(job.result() for job in jobs)

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()


@contextmanager
def started(cores: int) -> Iterator[Peers]:
    """Hold the processes while the block runs."""
    peers = Peers(cores)
    try:
        yield peers
    finally:
        peers.close()


def _start(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _rate(peer: str, shape: Shape, seconds: float, number: int, options: dict[str, Any]) -> float:
    share = images(SHARE, shape, seed=number)
    step = _PEERS[peer](share, **options)
    for i in range(16):
        step(i)  # caches and first-use costs are not what is measured
    assert _barrier is not None
    _barrier.wait(timeout=300)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for i in range(done, done + 16):
            step(i % SHARE)
        done += 16
    return done / (time.perf_counter() - began)


def _pillow(share: NDArray[np.uint8], policy: Policy, base: Base, fill: tuple[int, ...]) -> _Step:
    """Pillow's operations along a plan that is drawn beforehand, which costs it nothing."""
    made = recipes.of(policy, *share.shape[1:3])
    drawn = draws.plan(made, base, 0, *share.shape[:3])
    return lambda i: pillow.augment(share, made, base, fill, drawn, [i])


def _torchvision(share: NDArray[np.uint8], base: Base, fill: tuple[int, ...], kind: str) -> _Step:
    """RandAugment, crop and flip of torchvision v2; it has no Cutout, so none is done."""
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    colour = list(fill)
    transform = v2.Compose(
        [
            v2.RandAugment(2, 9, fill=colour),
            v2.RandomCrop(share.shape[1:3], padding=base.crop_padding, fill=colour),
            v2.RandomHorizontalFlip(),
        ]
    )
    if kind == "tensor":
        tensors = torch.from_numpy(share).permute(0, 3, 1, 2).contiguous()
        return lambda i: transform(tensors[i])
    return lambda i: np.asarray(transform(Image.fromarray(share[i])))


_PEERS: dict[str, Callable[..., _Step]] = {"pillow": _pillow, "torchvision": _torchvision}
