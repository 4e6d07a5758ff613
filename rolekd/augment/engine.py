"""The engine: applies a policy and the base augmentation to a whole batch.

Every image gets its own draw. The result is a pure function of (images, augmentation, seed),
whatever the device and the number of threads: numpy arrays and CPU tensors run through compiled
kernels (batched PyTorch where numba is not installed), GPU tensors through batched PyTorch.
"""

import contextlib
import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from rolekd import processes
from rolekd.augment import draws, reference
from rolekd.augment import recipe as recipes
from rolekd.augment.compiled import UNCOMPILED, Tables, tables_of
from rolekd.augment.recipe import Augmentation, Base, Recipe
from rolekd.errors import InputError

if TYPE_CHECKING:
    import torch

Array = NDArray[np.uint8]
Images = TypeVar("Images", Array, "torch.Tensor")

MAX_SIZE = 256
_MIN_CHUNK = 1 << 16  # pixels of a thread's turn; smaller turns cost more to hand over than to do


class Engine:
    """Applies augmentations to batches of images uint8 [N, H, W, C], C 1 or 3.

    Args:
        fill: colour (one value per channel) of pixels from outside, of Cutout and of the
            crop's padding: the mean colour of the dataset, which is 0 after normalisation.
        crop_padding: pixels around the image before the random crop to its size.
        horizontal_flip: whether to flip with probability 1/2.
        cutout: side in pixels of the final square of fill; 0 for none.
        threads: of one call on the CPU; None: as many as PyTorch uses where it is loaded, else
            one per core. No result depends on it.
    """

    def __init__(
        self,
        fill: tuple[int, ...],
        crop_padding: int = 0,
        horizontal_flip: bool = False,
        cutout: int = 0,
        threads: int | None = None,
    ) -> None:
        self.fill = np.array(fill, np.uint8)
        self.base = Base(crop_padding, horizontal_flip, cutout)
        self.threads = threads

    def apply(
        self,
        images: Images,
        policy: Augmentation,
        seed: int,
        levels: NDArray[np.int64] | None = None,
    ) -> Images:
        """Return the augmented batch; `images` stay as they are.

        Args:
            images: uint8 [N, H, W, C], a numpy array or a tensor on any device.
            policy: a policy, a hand-made augmentation, or None for the base augmentation alone.
            seed: in 0..2^64-1, see `rolekd.seeds.derive`.
            levels: int64 [N], of a `policy` that has several, as `handmade.Adaptive`; None: 0, the
                weakest, for all.

        Raises:
            InputError: another type or shape, channels that do not fit the fill colour, or levels
                that the policy does not have.
        """
        self._check(tuple(images.shape), str(images.dtype))
        height, width, channels = images.shape[1:]
        recipe = recipes.of(policy, height, width)
        tables = tables_of(recipe, height, width, channels)
        draw = _Draw(recipe, tables, seed, _levels(levels, recipe, len(images)))
        if isinstance(images, np.ndarray):
            return self._on_cpu(images, draw)
        import torch

        if images.device.type == "cpu":
            return torch.from_numpy(self._on_cpu(images.numpy(), draw))
        out = torch.empty_like(images)
        self._in_torch(images, out, draw)
        if tables.has_uncompiled:
            host = out.cpu()
            self._rest(images.cpu().numpy(), host.numpy(), draw)
            out.copy_(host)
        return out

    def _on_cpu(self, images: Array, draw: "_Draw") -> Array:
        images = np.ascontiguousarray(images)
        out = np.empty_like(images)
        if not self._in_threads(images, out, draw):
            import torch

            inputs = torch.from_numpy(images if images.flags.writeable else images.copy())
            self._in_torch(inputs, torch.from_numpy(out), draw)
        if draw.tables.has_uncompiled:
            self._rest(images, out, draw)
        return out

    def _in_threads(self, images: Array, out: Array, draw: "_Draw") -> bool:
        """Run the compiled kernels; return False where numba is not installed."""
        try:
            from rolekd.augment import kernels
        except ModuleNotFoundError:
            return False

        tables = draw.tables

        def work() -> None:
            for start, stop in chunks:
                kernels.augment(
                    images, out, start, stop, np.uint64(draw.seed), draw.levels,
                    tables.thresholds, tables.codes, tables.numbers, tables.factors,
                    tables.lookups, np.uint32(self._packed_fill()),
                    self.base.crop_padding, self.base.horizontal_flip, self.base.cutout,
                )  # fmt: skip

        count, height, width, _ = images.shape
        threads = self.threads or _default_threads()
        length = max(_MIN_CHUNK // (height * width), -(-count // (4 * threads)), 1)
        # An iterator that the threads share: a free thread takes the next chunk.
        chunks = iter([(i, min(i + length, count)) for i in range(0, count, length)])
        threads = min(threads, -(-count // length))
        others = [_pool(os.getpid()).submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            other.result()
        return True

    def _in_torch(self, images: "torch.Tensor", out: "torch.Tensor", draw: "_Draw") -> None:
        from rolekd.augment import device

        drawn = self._plan(tuple(images.shape), draw)
        device.augment(images, out, draw.tables, drawn, self.base, self._packed_fill())

    def _rest(self, images: Array, out: Array, draw: "_Draw") -> None:
        """Augment again the images that drew an operation without a compiled form."""
        drawn = self._plan(images.shape, draw)
        codes = draw.tables.codes[drawn.rows, drawn.signs]
        which = np.flatnonzero((codes == UNCOMPILED).any(axis=1))
        reference.augment(images, out, draw.recipe, self.base, self.fill, drawn, which)

    def _plan(self, shape: tuple[int, ...], draw: "_Draw") -> draws.DrawPlan:
        count, height, width, _ = shape
        return draws.plan(draw.recipe, self.base, draw.seed, count, height, width, draw.levels)

    def _packed_fill(self) -> int:
        return sum(int(value) << (8 * i) for i, value in enumerate(self.fill))

    def _check(self, shape: tuple[int, ...], dtype: str) -> None:
        if dtype.removeprefix("torch.") != "uint8" or len(shape) != 4:
            raise InputError(
                f"augmentation: images are {dtype} {list(shape)}; give uint8 [N, H, W, C]"
            )
        if shape[3] not in (1, 3) or shape[3] != len(self.fill):
            raise InputError(
                f"augmentation: images have {shape[3]} channels and the fill colour "
                f"{len(self.fill)}; give 1 or 3, and as many in both"
            )
        if not (1 <= shape[1] <= MAX_SIZE and 1 <= shape[2] <= MAX_SIZE):
            raise InputError(
                f"augmentation: images of {shape[1]} x {shape[2]} pixels; "
                f"resize them to at least 1 x 1 and at most {MAX_SIZE} x {MAX_SIZE}"
            )


@dataclass(frozen=True)
class _Draw:
    """What is done to the N images of a call, but for the base augmentation.

    Attributes:
        recipe: what is drawn from.
        tables: of the recipe, for the images' shape.
        seed: of the draws.
        levels: int64 [N], of the images.
    """

    recipe: Recipe
    tables: Tables
    seed: int
    levels: NDArray[np.int64]


def _levels(given: NDArray[np.int64] | None, recipe: Recipe, count: int) -> NDArray[np.int64]:
    """Return the levels of `count` images, checked: the kernels trust them."""
    if given is None:
        return np.zeros(count, np.int64)
    levels = np.ascontiguousarray(given)
    if levels.dtype != np.int64 or levels.shape != (count,):
        raise InputError(
            f"augmentation: levels are {levels.dtype} {list(levels.shape)}; give int64 [{count}], "
            "one for each image"
        )
    if count and not 0 <= levels.min() <= levels.max() < recipe.levels:
        raise InputError(
            f"augmentation: levels from {levels.min()} to {levels.max()}; make them at least 0 "
            f"and at most {recipe.levels - 1}"
        )
    return levels


def preload() -> None:
    """Import the compiled kernels, if numba is installed, for processes that are forked later."""
    with contextlib.suppress(ModuleNotFoundError):
        import rolekd.augment.kernels  # noqa: F401


def _default_threads() -> int:
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    return processes.cores()


@functools.lru_cache(maxsize=1)
def _pool(_process: int) -> ThreadPoolExecutor:
    """Return the threads of a process; a forked child makes its own."""
    return ThreadPoolExecutor(thread_name_prefix="augment")
