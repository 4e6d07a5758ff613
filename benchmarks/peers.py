"""The peers of `rolekd bench augment`, one process per core.

Each process makes its own share of the images and augments it, image by image, over and over;
the rates of all processes are added. Nothing is sent between processes, which favours the peers: a
data loader would have to pass every image on.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import pillow
from benchmarks.together import Step
from rolekd.augment import draws
from rolekd.augment import recipe as recipes
from rolekd.augment.policy import Policy
from rolekd.augment.recipe import Base

SHARE = 256  # images of a process
Shape = tuple[int, int, int]
_Augment = Callable[[int], object]  # augments image number i


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


def step(number: int, peer: str, shape: Shape, **options: Any) -> Step:
    """Return what augments 16 images of process `number`'s share by a peer of `PEERS`."""
    one = PEERS[peer](images(SHARE, shape, seed=number), **options)
    places = itertools.cycle(range(SHARE))

    def sixteen() -> int:
        for i in itertools.islice(places, 16):
            one(i)
        return 16

    return sixteen


def _pillow(
    share: NDArray[np.uint8], policy: Policy, base: Base, fill: tuple[int, ...]
) -> _Augment:
    """Pillow's operations along a plan that is drawn beforehand, which costs it nothing."""
    made = recipes.of(policy, *share.shape[1:3])
    drawn = draws.plan(made, base, 0, *share.shape[:3])
    return lambda i: pillow.augment(share, made, base, fill, drawn, [i])


def _torchvision(
    share: NDArray[np.uint8], base: Base, fill: tuple[int, ...], kind: str
) -> _Augment:
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


PEERS: dict[str, Callable[..., _Augment]] = {"pillow": _pillow, "torchvision": _torchvision}
