"""The random draws of a batch, as pure functions of (seed, index in the batch, stream).

Counter-based: SplitMix64 (Steele, Lea, Flood 2014) evaluated at any place of its sequence, so no
state is carried, every image may be drawn by another thread, and a batch on a GPU has the draws
of the same batch on a CPU. `mix`, `stream_place` and `below` are written so that numba compiles
them for single numbers from the same source.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rolekd.augment.recipe import Base, Recipe

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)
_32, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)

# Streams of an image: three of the base augmentation, then two of every step.
STREAMS = np.uint64(64)
CROP, CUTOUT, FLIP, STEPS = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
MAX_STEPS = (int(STREAMS) - int(STEPS)) // 2


def mix(z: Any) -> Any:
    """Return the 64 random bits of a place in the sequence (uint64, any shape)."""
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


def stream_place(seed: Any, index: Any, stream: Any) -> Any:
    """Return the place of an image's stream in the sequence of a seed (uint64)."""
    return seed + GOLDEN * (index * STREAMS + stream)


def low(bits: Any) -> Any:
    """Return the lower 32 of 64 random bits."""
    return bits & _LOW


def below(bits: Any, size: Any) -> Any:
    """Map 32 random bits to 0..size-1, uniformly but for 1 part in 2^32 / size."""
    return (bits * size) >> _32


@dataclass(frozen=True)
class DrawPlan:
    """What is done to each of N images: S steps of the recipe, then the base augmentation.

    Attributes:
        rows: [N, S] number of the recipe's variant, from 1; 0 does nothing.
        signs: [N, S] 0 or 1, which of a row's two forms.
        centres: [N, S, 2] (y, x) of a region to fill.
        crop: [N, 2] (y, x) offset of the crop in the padded image, 0..2 padding.
        flip: [N] 0 or 1.
        cutout: [N, 2] (y, x) centre of the final Cutout.
    """

    rows: NDArray[np.int64]
    signs: NDArray[np.int64]
    centres: NDArray[np.int64]
    crop: NDArray[np.int64]
    flip: NDArray[np.int64]
    cutout: NDArray[np.int64]

    def part(self, images: slice) -> "DrawPlan":
        """Return the plan of some of the images."""
        return DrawPlan(*(getattr(self, field.name)[images] for field in fields(self)))


def plan(
    recipe: "Recipe",
    base: "Base",
    seed: int,
    count: int,
    height: int,
    width: int,
    levels: NDArray[np.int64] | None = None,
) -> DrawPlan:
    """Draw the plan of a batch of `count` images at levels [count] of the recipe; None: all 0."""
    if levels is None:
        levels = np.zeros(count, np.int64)
    start, index = np.uint64(seed), np.arange(count, dtype=np.uint64)
    steps = recipe.steps
    rows = np.zeros((count, steps), np.int64)
    signs = np.zeros((count, steps), np.int64)
    centres = np.zeros((count, steps, 2), np.int64)
    previous = np.zeros(count, np.int64)
    with np.errstate(over="ignore"):
        for step in range(steps):
            stream = STEPS + np.uint64(2 * step)
            bits = mix(stream_place(start, index, stream))
            previous = recipe.choose(step, previous, low(bits))
            rows[:, step] = recipe.at_level(previous, levels)
            signs[:, step] = bits >> np.uint64(63)
            centres[:, step] = _pair(
                mix(stream_place(start, index, stream + np.uint64(1))), height, width
            )
        crops = 2 * base.crop_padding + 1
        flips = mix(stream_place(start, index, FLIP)) >> np.uint64(63)
        return DrawPlan(
            rows,
            signs,
            centres,
            _pair(mix(stream_place(start, index, CROP)), crops, crops),
            (flips if base.horizontal_flip else np.zeros_like(flips)).astype(np.int64),
            _pair(mix(stream_place(start, index, CUTOUT)), height, width),
        )


def _pair(bits: NDArray[np.uint64], rows: int, columns: int) -> NDArray[np.int64]:
    """Draw (y, x) with y below `rows` and x below `columns`: [N] bits -> [N, 2]."""
    y, x = below(low(bits), np.uint64(rows)), below(bits >> _32, np.uint64(columns))
    return np.stack([y, x], axis=1).astype(np.int64)
