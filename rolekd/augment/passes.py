"""Passes over one image, compiled: what the kernels do to packed pixels.

A pixel is a uint32 with the channels in its lower bytes, so that one code serves one and three
channels and the compiler can work on 8 or 16 pixels at once. That is why every intermediate
value is cut to 32 bits (`_U`): numba widens integers to 64, which halves the speed. Offsets are
uint64 (`_Q`), since signed ones are checked for counting from the end.

`size` is the number of pixels H W; buffers may be longer.
"""

from typing import Any

import numpy as np

from rolekd.augment.ops import GRAY_ROUNDING, GRAY_WEIGHTS
from rolekd.jit import inner

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
jit = inner(**OPTIONS)  # of a function that kernels call

_U, _Q, _I, _F = np.uint32, np.uint64, np.int32, np.float32
_BYTE, _EVEN = _U(0xFF), _U(0xFF00FF)  # a channel; red and blue in 16-bit halves
_6, _8, _16, _24 = _U(6), _U(8), _U(16), _U(24)
_RED, _GREEN, _BLUE = (_U(weight) for weight in GRAY_WEIGHTS)
_HALF = _U(GRAY_ROUNDING)
_ONE = 1 << 16  # in fixed point
_STRIP = 1024
_BY_13, _18 = _U(20165), _U(18)  # x * 20165 >> 18 is x // 13 for x up to 13 * 255 + 6


@jit
def channel_of(pixel: Any, shift: Any) -> Any:
    """Return the byte of a pixel at a shift."""
    return _U(_U(pixel >> shift) & _BYTE)


@jit
def from_bytes(red: Any, green: Any, blue: Any) -> Any:
    """Return the pixel of three bytes."""
    return _U(_U(red | _U(green << _8)) | _U(blue << _16))


@jit
def blend(start: Any, end: Any, factor: Any) -> Any:
    """Return the byte `start + factor (end - start)`, cut off as Pillow does."""
    a = _F(_I(start))
    mixed = a + factor * (_F(_I(end)) - a)
    return _U(_I(min(max(mixed, _F(0)), _F(255))))


@jit
def gray(pixel: Any) -> Any:
    """Return the luma of a pixel of three channels."""
    red = _U(_RED * _U(pixel & _BYTE))
    green, blue = _U(_GREEN * channel_of(pixel, _8)), _U(_BLUE * channel_of(pixel, _16))
    return _U(_U(_U(_U(red + green) + blue) + _HALF) >> _16)


@jit
def pack(image: Any, pixels: Any) -> None:
    """Pack bytes [H, W, C] into pixels; where they come in fours, three words at a time."""
    bytes_ = image.reshape(image.size)
    if image.shape[2] == 1:
        for i in range(image.size):
            pixels[i] = bytes_[i]
    elif image.size % 12:
        for i in range(image.size // 3):
            pixels[i] = from_bytes(_U(bytes_[3 * i]), _U(bytes_[3 * i + 1]), _U(bytes_[3 * i + 2]))
    else:
        words = bytes_.view(_U)
        for i in range(image.size // 12):
            a, b, c = words[3 * i], words[3 * i + 1], words[3 * i + 2]
            pixels[4 * i] = a & _U(0xFFFFFF)
            pixels[4 * i + 1] = _U(a >> _24) | _U(_U(b & _U(0xFFFF)) << _8)
            pixels[4 * i + 2] = _U(b >> _16) | _U(_U(c & _BYTE) << _16)
            pixels[4 * i + 3] = c >> _8


@jit
def unpack(pixels: Any, image: Any) -> None:
    """Unpack pixels, whose highest byte is 0, into bytes [H, W, C]."""
    bytes_ = image.reshape(image.size)
    if image.shape[2] == 1:
        for i in range(image.size):
            bytes_[i] = pixels[i]
    elif image.size % 12:
        for i in range(image.size // 3):
            pixel = pixels[i]
            bytes_[3 * i], bytes_[3 * i + 1], bytes_[3 * i + 2] = pixel, pixel >> _8, pixel >> _16
    else:
        words = bytes_.view(_U)
        for i in range(image.size // 12):
            a, b, c, d = pixels[4 * i], pixels[4 * i + 1], pixels[4 * i + 2], pixels[4 * i + 3]
            words[3 * i] = a | _U(b << _24)
            words[3 * i + 1] = _U(b >> _8) | _U(c << _16)
            words[3 * i + 2] = _U(c >> _16) | _U(d << _8)


@jit
def look_up(pixels: Any, size: Any, table: Any) -> None:
    """Replace pixels by the table [3, 256], whose entries lie at their channel's bits."""
    red, green, blue = table[0], table[1], table[2]
    for i in range(size):
        pixel = pixels[i]
        colours = red[pixel & _BYTE] | green[channel_of(pixel, _8)]
        pixels[i] = colours | blue[channel_of(pixel, _16)]


@jit
def sample(source: Any, target: Any, shape: Any, affine: Any) -> None:
    """Sample nearest pixels along an affine map in 16.16 fixed point.

    What lies outside comes from the slot behind the last pixel of `source`.
    """
    height, width = shape
    if affine[0] == affine[4] == _ONE and affine[1] == affine[3] == 0:
        outside = source[height * width]
        shift(source, target, shape, (affine[5] >> 16, affine[2] >> 16), outside)
        return
    if affine[0] == affine[4] == _ONE and affine[3] == 0:
        shear(source, target, shape, affine)
        return
    high, wide = _U(height), _U(width)
    last = _U(height * width)
    step_x, step_y = _I(affine[0]), _I(affine[3])
    for y in range(height):
        row = target[y * width : (y + 1) * width]
        start_x, start_y = _I(affine[2] + affine[1] * y), _I(affine[5] + affine[4] * y)
        for x in range(width):
            from_x = _U(_I(start_x + step_x * _I(x)) >> 16)
            from_y = _U(_I(start_y + step_y * _I(x)) >> 16)
            inside = (from_x < wide) & (from_y < high)
            row[x] = source[_U(_U(from_y * wide) + from_x) if inside else last]


@jit
def shear(source: Any, target: Any, shape: Any, affine: Any) -> None:
    """Sample along a map that moves every row as a whole: a copy of each, not a gather."""
    height, width = shape
    fill, down = source[height * width], affine[5] >> 16
    for y in range(height):
        row = target[y * width : (y + 1) * width]
        left = (affine[2] + affine[1] * y) >> 16
        first, last = min(max(-left, 0), width), max(min(width - left, width), 0)
        if not 0 <= y + down < height:
            first, last = width, width
        for x in range(first):
            row[x] = fill
        to, start = _Q(first), _Q((y + down) * width + left + first)
        for i in range(last - first):
            row[to + _Q(i)] = source[start + _Q(i)]
        for x in range(last, width):
            row[x] = fill


@jit
def shift(source: Any, target: Any, shape: Any, corner: Any, fill: Any) -> None:
    """Copy the window of `shape` at `corner`, which may lie partly or wholly outside.

    One copy of everything, then fill where it went round the edges.
    """
    height, width = shape
    top, left = min(max(corner[0], -height), height), min(max(corner[1], -width), width)
    offset = top * width + left
    first = max(-offset, 0)
    to, start = _Q(first), _Q(first + offset)
    for i in range(min(height * width - offset, height * width) - first):
        target[to + _Q(i)] = source[start + _Q(i)]
    _fill_outside(target, shape, (top, left), fill)


@jit
def flip(source: Any, target: Any, shape: Any, corner: Any, fill: Any) -> None:
    """Copy the window at `corner` with its rows reversed, eight pixels at a time."""
    height, width = shape
    top, left = min(max(corner[0], -height), height), min(max(corner[1], -width), width)
    column, count = max(left, 0), width - abs(left)
    for y in range(max(-top, 0), min(height - top, height)):
        to, last = _Q(y * width + column), _Q((y + top) * width + column + count - 1)
        for block in range(count // 8):
            for i in range(8):
                x = _Q(8 * block) + _Q(i)
                target[to + x] = source[last - x]
        for i in range(count % 8):
            x = _Q(count - 1 - i)
            target[to + x] = source[last - x]
    _fill_outside(target, shape, (top, -left), fill)


@jit
def _fill_outside(target: Any, shape: Any, corner: Any, fill: Any) -> None:
    """Fill what a window at `corner` has from outside the image."""
    height, width = shape
    top, left = corner
    fill_region(target, shape, (0, 0), (max(-top, 0), width), fill)
    fill_region(target, shape, (height - top, 0), (top, width), fill)
    fill_region(target, shape, (0, 0), (height, max(-left, 0)), fill)
    fill_region(target, shape, (0, width - left), (height, left), fill)


@jit
def fill_region(pixels: Any, shape: Any, corner: Any, region: Any, fill: Any) -> None:
    """Fill the rectangle (rows, columns) at `corner`; what lies outside is cut off."""
    height, width = shape
    top, left = corner
    for y in range(max(top, 0), min(top + region[0], height)):
        pixels[y * width + max(left, 0) : y * width + min(left + region[1], width)] = fill


@jit
def color(pixels: Any, size: Any, factor: Any) -> None:
    """Blend pixels of three channels with their luma."""
    for i in range(size):
        pixel = pixels[i]
        luma = gray(pixel)
        red = blend(luma, pixel & _BYTE, factor)
        green = blend(luma, channel_of(pixel, _8), factor)
        pixels[i] = from_bytes(red, green, blend(luma, channel_of(pixel, _16), factor))


@jit
def sharpness(source: Any, target: Any, shape: Any, factor: Any, sums: Any) -> None:
    """Blend with the smoothed image; the border stays. `sums` are two buffers.

    In strips, so that the sums stay in the cache; a strip is long, so that few of its pixels
    are left over when the compiler works on many at once.
    """
    height, width = shape
    size = height * width
    for i in range(size if height < 3 else width):
        target[i] = source[i]
        target[size - 1 - i] = source[size - 1 - i]
    for start in range(width + 1, size - width - 1, _STRIP):
        count = min(_STRIP, size - width - 1 - start)
        _sum_columns(source, _Q(start), _Q(width), count, sums)
        _smooth(source, target, _Q(start), count, factor, sums)
    for y in range(1, height - 1):
        target[y * width] = source[y * width]
        target[(y + 1) * width - 1] = source[(y + 1) * width - 1]


@jit
def _sum_columns(source: Any, start: Any, width: Any, count: Any, sums: Any) -> None:
    """Sum pixels with those above and below: red and blue at once, and green.

    The sums of pixel `start` come second, after those of the pixel before it.
    """
    even, odd = sums
    for j in range(count + 2):
        i = start + _Q(j) - _Q(1)
        above, here, below = source[i - width], source[i], source[i + width]
        even[_Q(j)] = _U(_U(above & _EVEN) + _U(here & _EVEN)) + _U(below & _EVEN)
        green = _U(channel_of(above, _8) + channel_of(here, _8))
        odd[_Q(j)] = green + channel_of(below, _8)


@jit
def _smooth(source: Any, target: Any, start: Any, count: Any, factor: Any, sums: Any) -> None:
    """Finish the 3 x 3 sums, in which the centre weighs 5 of 13, and blend."""
    even, odd = sums
    for j in range(count):
        before, middle, after = _Q(j), _Q(j) + _Q(1), _Q(j) + _Q(2)
        here = source[start + before]
        both = _U(_U(even[before] + even[middle]) + even[after])
        both = _U(both + _U(_U(here & _EVEN) << _U(2)))
        green = _U(_U(odd[before] + odd[middle]) + odd[after])
        green = _U(green + _U(channel_of(here, _8) << _U(2)))
        target[start + before] = from_bytes(
            blend(_thirteenth(both & _U(0xFFFF)), here & _BYTE, factor),
            blend(_thirteenth(green), channel_of(here, _8), factor),
            blend(_thirteenth(both >> _16), channel_of(here, _16), factor),
        )


@jit
def _thirteenth(total: Any) -> Any:
    """Return a sum of weight 13, divided by 13 and rounded."""
    return _U(_U(_U(total + _6) * _BY_13) >> _18)
