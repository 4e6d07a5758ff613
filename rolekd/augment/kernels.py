"""The compiled engine of the CPU: one image at a time through buffers that stay in the cache.

Lookups that follow each other are composed into one table before they touch a pixel, and an
index map is one gather. There is one entry point with one signature: numba compiles it once,
for all shapes and recipes, and keeps the result on disk.
"""

from typing import Any

import numba
import numpy as np

from rolekd.augment import compiled, draws, lookups, ops, passes
from rolekd.augment.compiled import (
    AUTO_CONTRAST,
    COLOR,
    CONTRAST,
    GEOMETRY,
    IDLE,
    LOOKUP,
    REGION,
    SHARPNESS,
)
from rolekd.augment.passes import jit
from rolekd.jit import entry

_Q = np.uint64
_32, _63 = _Q(32), _Q(63)
_mix, _place = jit(draws.mix), jit(draws.stream_place)
_low, _below = jit(draws.low), jit(draws.below)
_SIGNATURE = numba.void(
    numba.types.Array(numba.uint8, 4, "C", readonly=True),
    numba.uint8[:, :, :, ::1],
    numba.int64,
    numba.int64,
    numba.uint64,
    numba.types.Array(numba.int64, 1, "C", readonly=True),
    numba.uint64[:, :, ::1],
    numba.int64[:, ::1],
    numba.int64[:, :, ::1],
    numba.float32[:, ::1],
    numba.uint8[:, :, ::1],
    numba.uint32,
    numba.int64,
    numba.boolean,
    numba.int64,
)


@jit
def _choose(thresholds: Any, bits: Any) -> Any:
    """Return the first row whose threshold exceeds the draw."""
    first, last = 0, len(thresholds) - 1
    while first < last:
        middle = (first + last) // 2
        if bits < thresholds[middle]:
            last = middle
        else:
            first = middle + 1
    return first


@jit
def _corner(bits: Any, rows: Any, columns: Any) -> Any:
    """Draw (y, x) with y below `rows` and x below `columns`."""
    y, x = _below(_low(bits), _Q(rows)), _below(bits >> _32, _Q(columns))
    return np.int64(y), np.int64(x)


@jit
def _make_table(
    code: Any, pixels: Any, shape: Any, factor: Any, table: Any, histogram: Any
) -> None:
    """Make the table of an operation that depends on the pixels."""
    size, channels = shape[0] * shape[1], shape[2]
    if code == CONTRAST:
        lookups.contrast(pixels, size, channels, factor, table)
    elif code == AUTO_CONTRAST:
        lookups.auto_contrast(pixels, size, channels, table)
    else:
        lookups.equalize(pixels, size, channels, table, histogram)


@jit
def _change(
    code: Any, buffers: Any, now: Any, shape: Any, numbers: Any, factor: Any, centre: Any, fill: Any
) -> Any:
    """Apply an operation that is not a lookup; return which buffer has the result."""
    height, width = shape[0], shape[1]
    size = height * width
    if code == GEOMETRY:
        buffers[now, size] = fill
        passes.sample(buffers[now], buffers[1 - now], (height, width), numbers)
        return 1 - now
    if code == SHARPNESS:
        sums = buffers[2], buffers[3]
        passes.sharpness(buffers[now], buffers[1 - now], (height, width), factor, sums)
        return 1 - now
    if code == REGION:
        corner = centre[0] - numbers[0] // 2, centre[1] - numbers[1] // 2
        passes.fill_region(buffers[now], (height, width), corner, (numbers[0], numbers[1]), fill)
    elif code == COLOR:
        passes.color(buffers[now], size, factor)
    return now


@jit
def _finish(buffers: Any, now: Any, shape: Any, seed: Any, index: Any, fill: Any, base: Any) -> Any:
    """Apply crop, flip and Cutout; return which buffer has the result."""
    padding, flips, cutout = base
    size = shape[0], shape[1]
    flip = flips and (_mix(_place(seed, index, draws.FLIP)) >> _63) == _Q(1)
    if padding or flip:
        crops = 2 * padding + 1
        y, x = _corner(_mix(_place(seed, index, draws.CROP)), crops, crops)
        corner = y - padding, x - padding
        if flip:
            passes.flip(buffers[now], buffers[1 - now], size, corner, fill)
        else:
            passes.shift(buffers[now], buffers[1 - now], size, corner, fill)
        now = 1 - now
    if cutout:
        y, x = _corner(_mix(_place(seed, index, draws.CUTOUT)), shape[0], shape[1])
        corner = y - cutout // 2, x - cutout // 2
        passes.fill_region(buffers[now], size, corner, (cutout, cutout), fill)
    return now


@entry(_SIGNATURE, compiled, draws, lookups, ops, passes, **passes.OPTIONS)
def augment(
    images: Any,
    out: Any,
    start: Any,
    stop: Any,
    seed: Any,
    levels: Any,
    thresholds: Any,
    codes: Any,
    numbers: Any,
    factors: Any,
    tables: Any,
    fill: Any,
    padding: Any,
    flips: Any,
    cutout: Any,
) -> None:
    """Augment images start..stop-1 of a batch.

    Args:
        images: uint8 [N, H, W, C]; only read.
        out: of the same shape; written.
        start: first image to do.
        stop: one past the last image to do.
        seed: of the batch.
        levels: int64 [N], of the images.
        thresholds: uint64 [S, P, K] of the recipe.
        codes: int64 [V, 2], what each form of a variant does.
        numbers: int64 [V, 2, 6], the affine map or the (rows, columns) of a region.
        factors: float32 [V, 2], of blends.
        tables: uint8 [V, 2, 256], of lookups.
        fill: packed fill colour.
        padding: of the crop.
        flips: whether to flip half of the images.
        cutout: side of the final square; 0 for none.
    """
    shape = images.shape[1], images.shape[2], images.shape[3]
    size = shape[0] * shape[1]
    buffers = np.empty((4, size + 1), np.uint32)
    table, histogram = np.zeros((3, 256), np.uint32), np.zeros((3, 256), np.uint32)
    for n in range(start, stop):
        index, before = _Q(n), levels[n] * (thresholds.shape[2] - 1)  # variants of lower levels
        now, row = np.int64(0), 0  # numba would compile for the literal 0 and for integers
        waiting = False  # whether `table` is still to be applied
        passes.pack(images[n], buffers[0])
        for step in range(len(thresholds)):
            stream = draws.STEPS + _Q(2 * step)
            bits = _mix(_place(seed, index, stream))
            row = _choose(thresholds[step, min(row, thresholds.shape[1] - 1)], _low(bits))
            sign = np.int64(bits >> _63)
            which = row + before if row > 0 else row
            code, factor = codes[which, sign], factors[which, sign]
            if code == LOOKUP:
                lookups.compose(table, waiting, tables[which, sign], shape[2])
                waiting = True
            elif code > IDLE:
                if waiting:
                    passes.look_up(buffers[now], size, table)
                waiting = code >= CONTRAST
                if waiting:
                    _make_table(code, buffers[now], shape, factor, table, histogram)
                else:
                    centre = _corner(_mix(_place(seed, index, stream + _Q(1))), shape[0], shape[1])
                    now = _change(
                        code, buffers, now, shape, numbers[which, sign], factor, centre, fill
                    )
        if waiting:
            passes.look_up(buffers[now], size, table)
        now = _finish(buffers, now, shape, seed, index, fill, (padding, flips, cutout))
        passes.unpack(buffers[now], out[n])
