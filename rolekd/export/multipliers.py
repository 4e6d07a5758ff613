"""Fitting onnxruntime's QLinearConv so that it rounds every reachable sum to the wanted level.

QLinearConv adds an int32 bias to a convolution's sum, multiplies by one float32 per channel and
rounds. A folded BatchNorm's bias is not a whole number of sums, and for low-bit integers one sum is
a large part of a level, so simply rounding the bias gives wrong levels. Here each channel's
weights are multiplied by a small integer, which refines the bias; then bias and scale are searched
so that all levels change exactly where they should.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

_OFFSETS = np.arange(-2, 3)  # biases tried around the nearest whole number
_BISECTIONS = 34  # halve any range of 32-bit sums to nothing
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class Rounding:
    """The levels of a convolution's sums, per channel: clip(round(sum * scale + bias), low, high).

    Attributes:
        scale: float32 [O], applied first; each operation is rounded to float32.
        bias: float32 [O].
        smallest: int64 [O], the least sum that can occur, in multiples of `grid`.
        largest: int64 [O], the greatest.
        grid: every sum is a multiple of it.
    """

    scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    low: int
    high: int
    smallest: Integers
    largest: Integers
    grid: int

    def levels(self, counts: Integers) -> Integers:
        """Return the wanted levels of sums `grid * counts`, [O, ...]."""
        shape = (-1,) + (1,) * (counts.ndim - 1)
        sums = (self.grid * counts).astype(np.float32)
        rounded = np.rint(sums * self.scale.reshape(shape) + self.bias.reshape(shape))
        levels: Integers = np.clip(rounded, self.low, self.high).astype(np.int64)
        return levels


@dataclass(frozen=True)
class Fit:
    """round((multiplier * sum + bias) * scale) is the wanted level of every reachable sum.

    `multiplier` int64, `bias` int32 and `scale` float32 are [O].
    """

    multiplier: Integers
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]


def fit_channel(rounding: Rounding, largest_multiplier: int) -> Fit | None:
    """Search multipliers up to the given magnitude; None where a channel has no fit."""
    rising = _rising(rounding)
    first = _first_counts(rising)
    # Channels that never change level need no search: no weights, the level as their bias.
    done = ((first <= rising.smallest[:, None]) | (first > rising.largest[:, None])).all(1)
    multiplier = np.zeros_like(rising.smallest)
    bias = rising.levels(rising.smallest[:, None])[:, 0]
    scale = np.ones_like(rounding.scale)
    center = np.divide(rising.bias, rising.scale, where=~done, out=np.zeros_like(rising.bias))
    for candidate in range(largest_multiplier, 0, -1):
        for offset in _OFFSETS:
            if done.all():
                break
            trial = np.rint(candidate * center.astype(np.float64)).astype(np.int64) + offset
            trial_scale, good = _scales(rising, first, candidate, trial)
            new = good & ~done
            multiplier[new], bias[new], scale[new] = candidate, trial[new], trial_scale[new]
            done |= new
    if not done.all():
        return None
    return Fit(np.where(rounding.scale < 0, -multiplier, multiplier), bias.astype(np.int32), scale)


def _rising(rounding: Rounding) -> Rounding:
    """Negate the sums of channels with a negative scale, so that all levels rise."""
    negative = rounding.scale < 0
    return replace(
        rounding,
        scale=np.abs(rounding.scale),
        smallest=np.where(negative, -rounding.largest, rounding.smallest),
        largest=np.where(negative, -rounding.smallest, rounding.largest),
    )


def _first_counts(rising: Rounding) -> Integers:
    """Return, for each level above the lowest, the first count that reaches it, [O, levels].

    Counts that never reach it give one more than the largest.
    """
    wanted = np.arange(rising.low + 1, rising.high + 1)
    shape = (len(rising.scale), len(wanted))
    below = np.broadcast_to(rising.smallest[:, None], shape)
    reached = np.broadcast_to(rising.largest[:, None] + 1, shape)
    for _ in range(_BISECTIONS):
        middle = (below + reached) // 2
        enough = rising.levels(middle) >= wanted
        open_ = below < reached
        reached = np.where(open_ & enough, middle, reached)
        below = np.where(open_ & ~enough, middle + 1, below)
    return reached


def _scales(
    rising: Rounding, first: Integers, multiplier: int, bias: Integers
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a scale for each channel, and whether it puts every change where it belongs."""
    border = np.arange(rising.low + 1, rising.high + 1) - 0.5
    factor = multiplier * rising.grid
    reaches = factor * first + bias[:, None]
    misses = reaches - factor
    must_reach = first <= rising.largest[:, None]
    must_miss = first > rising.smallest[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        # reaches * s >= border and misses * s <= border, solved for s > 0.
        at_reaches, at_misses = border / reaches, border / misses
    least = np.maximum(
        np.where(must_reach & (reaches > 0), at_reaches, 0).max(1),
        np.where(must_miss & (misses < 0), at_misses, 0).max(1),
    )
    most = np.minimum(
        np.where(must_reach & (reaches < 0), at_reaches, np.inf).min(1),
        np.where(must_miss & (misses > 0), at_misses, np.inf).min(1),
    )
    middle = np.where(np.isfinite(most), (least + most) / 2, 2 * least)
    scale = np.maximum(middle, np.finfo(np.float32).tiny).astype(np.float32)
    good = _rounds(reaches, scale) >= border
    good |= ~must_reach
    missed = _rounds(misses, scale) <= border
    missed |= ~must_miss
    in_range = np.abs(factor * rising.largest) + np.abs(bias) <= _INT32_MAX
    in_range &= np.abs(factor * rising.smallest) + np.abs(bias) <= _INT32_MAX
    return scale, good.all(1) & missed.all(1) & in_range


def _rounds(sums: Integers, scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what onnxruntime rounds sums to, before it clips."""
    rounded: NDArray[np.float32] = np.rint(sums.astype(np.float32) * scale[:, None])
    return rounded
