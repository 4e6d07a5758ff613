"""Lookup tables of one image, compiled: those that depend on its pixels, and composition.

A table is uint32 [3, 256]; row c maps a value of channel c to the new value at that channel's
bits of a packed pixel.
"""

from typing import Any

import numpy as np

from rolekd.augment.passes import blend, channel_of, gray, jit

_U, _I, _F = np.uint32, np.int32, np.float32


@jit
def compose(table: Any, waiting: Any, row: Any, channels: Any) -> None:
    """Let a lookup uint8 [256] follow the table, or, if none is waiting, be the table."""
    for channel in range(channels):
        shift = _U(8 * channel)
        for value in range(256):
            before = table[channel, value] >> shift if waiting else _U(value)
            table[channel, value] = _U(_U(row[before]) << shift)


@jit
def contrast(pixels: Any, size: Any, channels: Any, factor: Any, table: Any) -> None:
    """Blend with the mean of the luma, rounded."""
    total = _U(0)  # at most 256 x 256 x 255
    if channels == 3:
        for i in range(size):
            total = _U(total + gray(pixels[i]))
    else:
        for i in range(size):
            total = _U(total + pixels[i])
    mean = (2 * np.int64(total) + size) // (2 * size)
    for channel in range(channels):
        shift = _U(8 * channel)
        for value in range(256):
            table[channel, value] = _U(blend(mean, value, factor) << shift)


@jit
def auto_contrast(pixels: Any, size: Any, channels: Any, table: Any) -> None:
    """Stretch each channel to 0..255."""
    _stretch(pixels, size, _U(0), table[0])
    if channels == 3:
        _stretch(pixels, size, _U(8), table[1])
        _stretch(pixels, size, _U(16), table[2])


@jit
def _stretch(pixels: Any, size: Any, shift: Any, row: Any) -> None:
    """Make the row of a channel, in double precision as Pillow does."""
    mask = _U(_U(255) << shift)
    low, high = mask, _U(0)
    for i in range(size):
        value = _U(pixels[i] & mask)
        low, high = min(low, value), max(high, value)
    low, high = _U(low >> shift), _U(high >> shift)
    scale, offset = 1.0, 0.0
    if high > low:
        scale = 255.0 / (_I(high) - _I(low))
        offset = -_I(low) * scale
    for i in range(256):
        row[i] = _U(_U(_I(min(max(_I(i) * scale + offset, 0.0), 255.0))) << shift)


@jit
def equalize(pixels: Any, size: Any, channels: Any, table: Any, histogram: Any) -> None:
    """Flatten each channel's histogram."""
    histogram[:] = 0
    if channels == 3:
        for i in range(size):
            pixel = pixels[i]
            histogram[0, channel_of(pixel, _U(0))] += _U(1)
            histogram[1, channel_of(pixel, _U(8))] += _U(1)
            histogram[2, channel_of(pixel, _U(16))] += _U(1)
    else:
        for i in range(size):
            histogram[0, pixels[i]] += _U(1)
    for channel in range(channels):
        _equalize_channel(histogram[channel], _U(size), table[channel], _U(8 * channel))


@jit
def _equalize_channel(histogram: Any, size: Any, row: Any, shift: Any) -> None:
    last = 255
    while histogram[last] == 0:
        last -= 1
    step = _U(size - histogram[last]) // _U(255)
    below = step // _U(2)
    for value in range(256):
        row[value] = below
        below = _U(below + histogram[value])
    # row // step in single precision: with the half added it is far enough from every integer.
    inverse = _F(1) / _F(_I(step)) if step else _F(1)
    for value in range(256):
        level = min(_U(_I((_F(_I(row[value])) + _F(0.5)) * inverse)), _U(255))
        row[value] = (level if step else _U(value)) << shift
