"""The compiled engine of the CPU: one image at a time through a cache-resident buffer.

An image becomes packed pixels (uint32: the channels in its lower bytes), so that every pass is
the same code for one and three channels and the compiler can vectorise it: an index map is one
gather of 32-bit values, a lookup table three of them. Lookups that follow each other are
composed into one table before they touch a pixel. The slot behind the last pixel holds the fill
colour, to which index maps send what lies outside.

One entry point with one signature: numba compiles once and keeps the result on disk.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from rolekd.augment import compiled, draws, ops
from rolekd.augment.compiled import (
    AUTO_CONTRAST,
    COLOR,
    CONTRAST,
    GEOMETRY,
    LOOKUP,
    NOTHING,
    REGION,
    SHARPNESS,
)
from rolekd.augment.ops import GRAY_ROUNDING, GRAY_WEIGHTS

_RED, _GREEN, _BLUE = GRAY_WEIGHTS
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_mix = numba.njit(draws.mix, **_OPTIONS)
_place = numba.njit(draws.place, **_OPTIONS)
_low = numba.njit(draws.low, **_OPTIONS)
_below = numba.njit(draws.below, **_OPTIONS)


_SIGNATURE = numba.void(
    numba.types.Array(numba.uint8, 4, "C", readonly=True),
    numba.uint8[:, :, :, ::1],
    numba.int64,
    numba.int64,
    numba.uint64,
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


def _entry(function: Callable[..., None]) -> Any:
    """Compile an entry point, or load it from the disk.

    numba's key is this file; the name adds the other files that are compiled in. Where no cache
    can be written, the function is compiled in every process.
    """
    files = [Path(module.__file__) for module in (compiled, draws, ops) if module.__file__]
    sources = b"".join(file.read_bytes() for file in files)
    function.__qualname__ += "_" + hashlib.sha256(sources).hexdigest()[:16]
    try:
        return numba.njit(_SIGNATURE, cache=True, **_OPTIONS)(function)
    except (OSError, RuntimeError):
        return numba.njit(_SIGNATURE, **_OPTIONS)(function)


@numba.njit(**_OPTIONS)
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


@numba.njit(**_OPTIONS)
def _pack(image: Any, pixels: Any) -> None:
    """Pack an image [H, W, C] into pixels."""
    height, width, channels = image.shape
    for y in range(height):
        row = y * width
        if channels == 3:
            for x in range(width):
                red, green, blue = image[y, x, 0], image[y, x, 1], image[y, x, 2]
                pixels[row + x] = red | np.uint32(green) << 8 | np.uint32(blue) << 16
        else:
            for x in range(width):
                pixels[row + x] = image[y, x, 0]


@numba.njit(**_OPTIONS)
def _look_up(pixels: Any, size: Any, table: Any) -> None:
    """Replace pixels by the table [3, 256], whose entries lie at their channel's bits."""
    for i in range(size):
        pixel = pixels[i]
        pixels[i] = (
            table[0, pixel & 255] | table[1, (pixel >> 8) & 255] | table[2, (pixel >> 16) & 255]
        )


@numba.njit(**_OPTIONS)
def _sample(source: Any, target: Any, height: Any, width: Any, affine: Any) -> None:
    """Sample nearest pixels along an affine map in 16.16 fixed point."""
    high, wide = np.uint32(height), np.uint32(width)
    outside = np.uint32(height * width)
    for y in range(height):
        start_x, start_y = affine[2] + affine[1] * y, affine[5] + affine[4] * y
        for x in range(width):
            from_x = np.uint32(np.int32(start_x + affine[0] * x) >> 16)
            from_y = np.uint32(np.int32(start_y + affine[3] * x) >> 16)
            inside = (from_x < wide) & (from_y < high)
            target[y * width + x] = source[np.uint32(from_y * wide + from_x) if inside else outside]


@numba.njit(**_OPTIONS)
def _blend(start: Any, end: Any, factor: Any) -> Any:
    """Return `start + factor (end - start)` as a byte, cut off as Pillow does."""
    a = np.float32(np.int32(start))
    mixed = a + factor * (np.float32(np.int32(end)) - a)
    return np.uint32(np.int32(min(max(mixed, np.float32(0)), np.float32(255))))


@numba.njit(**_OPTIONS)
def _gray(pixel: Any) -> Any:
    red, green, blue = pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255
    return np.uint32(_RED * red + _GREEN * green + _BLUE * blue + GRAY_ROUNDING) >> 16


@numba.njit(**_OPTIONS)
def _color(pixels: Any, size: Any, factor: Any) -> None:
    for i in range(size):
        pixel = pixels[i]
        gray = _gray(pixel)
        red = _blend(gray, pixel & 255, factor)
        green = _blend(gray, (pixel >> 8) & 255, factor)
        blue = _blend(gray, (pixel >> 16) & 255, factor)
        pixels[i] = red | green << 8 | blue << 16


@numba.njit(**_OPTIONS)
def _sharpness(source: Any, target: Any, height: Any, width: Any, factor: Any) -> None:
    """Blend with the smoothed image; two channels are summed at once in 16-bit halves."""
    target[: height * width] = source[: height * width]
    for y in range(1, height - 1):
        for i in range(y * width + 1, y * width + width - 1):
            pixel = source[i]
            even, odd = np.uint32(4 * (pixel & 0xFF00FF)), np.uint32(4 * ((pixel >> 8) & 255))
            for row in (i - width, i, i + width):
                for j in (row - 1, row, row + 1):
                    even = np.uint32(even + (source[j] & 0xFF00FF))
                    odd = np.uint32(odd + ((source[j] >> 8) & 255))
            red = _blend(np.uint32((even & 0xFFFF) + 6) // np.uint32(13), pixel & 255, factor)
            green = _blend(np.uint32(odd + 6) // np.uint32(13), (pixel >> 8) & 255, factor)
            blue = _blend(np.uint32((even >> 16) + 6) // np.uint32(13), pixel >> 16, factor)
            target[i] = red | green << 8 | blue << 16


@numba.njit(**_OPTIONS)
def _contrast_table(pixels: Any, size: Any, channels: Any, factor: Any, table: Any) -> None:
    total = 0
    for i in range(size):
        total += _gray(pixels[i]) if channels == 3 else pixels[i]
    mean = (2 * total + size) // (2 * size)
    for value in range(256):
        result = _blend(mean, value, factor)
        for channel in range(channels):
            table[channel, value] = result << (8 * channel)


@numba.njit(**_OPTIONS)
def _auto_contrast_table(pixels: Any, size: Any, channels: Any, table: Any) -> None:
    for channel in range(channels):
        shift = 8 * channel
        low, high = 255, 0
        for i in range(size):
            value = (pixels[i] >> shift) & 255
            low, high = min(low, value), max(high, value)
        scale = 255.0 / (high - low) if high > low else 1.0
        offset = -low * scale if high > low else 0.0
        for value in range(256):
            result = min(max(value * scale + offset, 0.0), 255.0)
            table[channel, value] = np.uint32(result) << shift


@numba.njit(**_OPTIONS)
def _equalize_table(pixels: Any, size: Any, channels: Any, table: Any, histogram: Any) -> None:
    histogram[:] = 0
    for i in range(size):
        pixel = pixels[i]
        histogram[0, pixel & 255] += 1
        if channels == 3:
            histogram[1, (pixel >> 8) & 255] += 1
            histogram[2, (pixel >> 16) & 255] += 1
    for channel in range(channels):
        last = 255
        while histogram[channel, last] == 0:
            last -= 1
        step = (size - histogram[channel, last]) // 255
        below = step // 2
        for value in range(256):
            result = min(below // step, 255) if step else value
            below += histogram[channel, value]
            table[channel, value] = np.uint32(result) << (8 * channel)


@numba.njit(**_OPTIONS)
def _compose(pending: Any, row: Any, channels: Any) -> None:
    """Let a lookup `row` [256] follow the pending table."""
    for channel in range(channels):
        shift = 8 * channel
        for value in range(256):
            pending[channel, value] = np.uint32(row[pending[channel, value] >> shift]) << shift


@numba.njit(**_OPTIONS)
def _reset(pending: Any, channels: Any) -> None:
    for channel in range(channels):
        for value in range(256):
            pending[channel, value] = np.uint32(value) << (8 * channel)


@numba.njit(**_OPTIONS)
def _fill_region(pixels: Any, colour: Any, top: Any, left: Any, shape: Any) -> None:
    """Fill a rectangle of pixels [H, W]; what lies outside the image is cut off."""
    height, width = pixels.shape
    for y in range(max(top, 0), min(top + shape[0], height)):
        for x in range(max(left, 0), min(left + shape[1], width)):
            pixels[y, x] = colour


@numba.njit(**_OPTIONS)
def _unpack(pixels: Any, image: Any, fill: Any, top: Any, left: Any, flip: Any) -> None:
    """Write the crop at (top, left) of the padded pixels, flipped if asked, as bytes."""
    height, width, channels = image.shape
    first, last = max(-left, 0), min(width - left, width)
    for y in range(height):
        row = y + top
        inside = 0 <= row < height
        for x in range(width):
            at = width - 1 - x if flip else x
            valid = inside and first <= at < last
            pixel = pixels[row * width + at + left] if valid else fill
            if channels == 3:
                image[y, x, 0] = pixel & 255
                image[y, x, 1] = (pixel >> 8) & 255
                image[y, x, 2] = (pixel >> 16) & 255
            else:
                image[y, x, 0] = pixel & 255


@numba.njit(**_OPTIONS)
def _fill_bytes(image: Any, fill: Any, top: Any, left: Any, side: Any) -> None:
    """Fill a square of an image [H, W, C]; what lies outside the image is cut off."""
    height, width, channels = image.shape
    for y in range(max(top, 0), min(top + side, height)):
        for x in range(max(left, 0), min(left + side, width)):
            for channel in range(channels):
                image[y, x, channel] = (fill >> (8 * channel)) & 255


@numba.njit(**_OPTIONS)
def _make_table(code: Any, pixels: Any, size: Any, shape: Any, factor: Any, scratch: Any) -> None:
    """Make the pending table of an operation whose table depends on the pixels."""
    table, histogram = scratch
    channels = shape[2]
    if code == CONTRAST:
        _contrast_table(pixels, size, channels, factor, table)
    elif code == AUTO_CONTRAST:
        _auto_contrast_table(pixels, size, channels, table)
    else:
        _equalize_table(pixels, size, channels, table, histogram)


@_entry
def augment(
    images: Any,
    out: Any,
    start: Any,
    stop: Any,
    seed: Any,
    thresholds: Any,
    codes: Any,
    integers: Any,
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
        thresholds: uint64 [S, P, K] of the recipe.
        codes: int64 [K, 2], what each form of a row does: NOTHING .. EQUALIZE.
        integers: int64 [K, 2, 6], the affine map or the (rows, columns) of a region.
        factors: float32 [K, 2], of blends.
        tables: uint8 [K, 2, 256], of lookups.
        fill: packed fill colour.
        padding: of the crop.
        flips: whether to flip half of the images.
        cutout: side of the final square; 0 for none.
    """
    _, height, width, channels = images.shape
    size = height * width
    pixels, other = np.empty(size + 1, np.uint32), np.empty(size + 1, np.uint32)
    pending = np.zeros((3, 256), np.uint32)
    histogram = np.zeros((3, 256), np.int64)
    crops = np.uint64(2 * padding + 1)
    high, wide = np.uint64(height), np.uint64(width)
    for n in range(start, stop):
        index = np.uint64(n)
        _pack(images[n], pixels)
        row = 0
        waiting = False  # whether the pending table is still to be applied
        for step in range(thresholds.shape[0]):
            stream = draws.STEPS + np.uint64(2 * step)
            bits = _mix(_place(seed, index, stream))
            row = _choose(thresholds[step, min(row, thresholds.shape[1] - 1)], _low(bits))
            sign = np.int64(bits >> np.uint64(63))
            code = codes[row, sign]
            if code == NOTHING:
                continue
            if code == LOOKUP:
                if not waiting:
                    _reset(pending, channels)
                _compose(pending, tables[row, sign], channels)
                waiting = True
                continue
            if waiting:
                _look_up(pixels, size, pending)
                waiting = False
            if code == GEOMETRY:
                pixels[size] = fill
                _sample(pixels, other, height, width, integers[row, sign])
                pixels, other = other, pixels
            elif code == REGION:
                centre = _mix(_place(seed, index, stream + np.uint64(1)))
                shape = integers[row, sign]
                top = np.int64(_below(_low(centre), high)) - shape[0] // 2
                left = np.int64(_below(centre >> np.uint64(32), wide)) - shape[1] // 2
                _fill_region(pixels[:size].reshape(height, width), fill, top, left, shape)
            elif code == COLOR:
                _color(pixels, size, factors[row, sign])
            elif code == SHARPNESS:
                _sharpness(pixels, other, height, width, factors[row, sign])
                pixels, other = other, pixels
            else:
                _make_table(
                    code, pixels, size, images.shape[1:], factors[row, sign], (pending, histogram)
                )
                waiting = True
        if waiting:
            _look_up(pixels, size, pending)
        bits = _mix(_place(seed, index, draws.CROP))
        top = np.int64(_below(_low(bits), crops)) - padding
        left = np.int64(_below(bits >> np.uint64(32), crops)) - padding
        flip = flips and (_mix(_place(seed, index, draws.FLIP)) >> np.uint64(63)) == 1
        _unpack(pixels, out[n], fill, top, left, flip)
        if cutout:
            centre = _mix(_place(seed, index, draws.CUTOUT))
            top = np.int64(_below(_low(centre), high)) - cutout // 2
            left = np.int64(_below(centre >> np.uint64(32), wide)) - cutout // 2
            _fill_bytes(out[n], fill, top, left, cutout)
