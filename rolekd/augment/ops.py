"""The operations: one function and one row of `TABLE` each.

A function says what an operation does, in one of four kinds, in numpy and on one image uint8
[H, W, C]; `rolekd.augment.reference` applies it so. The engine knows fast forms of the same:
a LOOKUP or a GEOMETRY needs nothing more than its function here, the PIXELS operations have
compiled forms in `kernels` and `device`, and one without them still runs, image by image.

Definitions are Pillow's (ImageOps, ImageEnhance, Image.transform), to the rounding; strengths
are those of the released policies at 32 pixels, scaled with the size of the image.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rolekd.augment.policy import MAX_MAGNITUDE

ImageArray = NDArray[np.uint8]
LookupTable = NDArray[np.uint8]
AffineMap = tuple[float, float, float, float, float, float]

REFERENCE_SIZE = 32  # the policies' pixel amounts are meant at this size
GRAY_WEIGHTS = (19595, 38470, 7471)  # ITU-R 601 luma in 1/65536, as Pillow rounds it
GRAY_ROUNDING = 0x8000


class Kind(IntEnum):
    """What an operation's function takes and returns."""

    LOOKUP = 1  # (strength) -> uint8 [256], the new value of each value
    GEOMETRY = 2  # (strength, height, width) -> affine map from output to input coordinates
    REGION = 3  # (strength, height, width) -> (rows, columns) of the rectangle to fill
    PIXELS = 4  # (image, strength) -> image


@dataclass(frozen=True)
class Operation:
    """A row of the table.

    Attributes:
        name: as in the policies.
        kind: form of `function`.
        function: what the operation does at a strength.
        strengths: what `function` takes at the magnitudes 0..9 of a policy.
        signed: whether the strength's sign is drawn, each with probability 1/2.
    """

    name: str
    kind: Kind
    function: Callable[..., Any]
    strengths: tuple[float, ...]
    signed: bool = False


def whole_pixels(amount: float, size: int) -> int:
    """Scale an amount of pixels at 32 to `size` and round it, halves away from zero."""
    return int(math.copysign(math.floor(abs(amount) * size / REFERENCE_SIZE + 0.5), amount))


def blend(degenerate: Any, image: Any, factor: float) -> ImageArray:
    """Return `degenerate + factor (image - degenerate)`, cut off to uint8 as Pillow does.

    Single precision and truncation are part of the definition: they decide the last bit.
    """
    start = np.asarray(degenerate, np.float32)
    mixed = start + np.float32(factor) * (np.asarray(image, np.float32) - start)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def gray(image: ImageArray) -> ImageArray:
    """Return the luma [H, W] of an image; one channel is its own luma."""
    if image.shape[2] == 1:
        return image[:, :, 0]
    luma = image.astype(np.int64) @ np.array(GRAY_WEIGHTS) + GRAY_ROUNDING
    return np.asarray(luma >> 16, np.uint8)


# Lookups: (strength) -> table


def invert(_strength: float) -> LookupTable:
    """Replace each value by 255 minus it."""
    return np.arange(255, -1, -1, dtype=np.uint8)


def posterize(bits: float) -> LookupTable:
    """Keep the upper bits of each value."""
    return np.arange(256, dtype=np.uint8) & np.uint8(256 - (1 << (8 - int(bits))))


def solarize(threshold: float) -> LookupTable:
    """Invert the values from `threshold` on."""
    values = np.arange(256)
    return np.where(values < threshold, values, 255 - values).astype(np.uint8)


def brightness(factor: float) -> LookupTable:
    """Blend with black."""
    return blend(np.zeros(256), np.arange(256), factor)


# Geometry: (strength, height, width) -> output-to-input map (a, b, c, d, e, f)


def rotate(degrees: float, height: int, width: int) -> AffineMap:
    """Rotate counter-clockwise around the centre."""
    angle = -math.radians(degrees % 360.0)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    shift_x, shift_y = cosine * -x + sine * -y + x, -sine * -x + cosine * -y + y
    return cosine, sine, shift_x, -sine, cosine, shift_y


def shear_x(slope: float, *_size: int) -> AffineMap:
    """Shift each row by `slope` times its distance from the top."""
    return 1.0, slope, 0.0, 0.0, 1.0, 0.0


def shear_y(slope: float, *_size: int) -> AffineMap:
    """Shift each column by `slope` times its distance from the left."""
    return 1.0, 0.0, 0.0, slope, 1.0, 0.0


def translate_x(pixels: float, _height: int, width: int) -> AffineMap:
    """Shift to the left by that many pixels at a width of 32."""
    return 1.0, 0.0, float(whole_pixels(pixels, width)), 0.0, 1.0, 0.0


def translate_y(pixels: float, height: int, _width: int) -> AffineMap:
    """Shift upwards by that many pixels at a height of 32."""
    return 1.0, 0.0, 0.0, 0.0, 1.0, float(whole_pixels(pixels, height))


# Regions: (strength, height, width) -> (rows, columns)


def cutout(pixels: float, height: int, width: int) -> tuple[int, int]:
    """Fill a square of that side at 32 pixels; elsewhere each side follows its axis."""
    return whole_pixels(pixels, height), whole_pixels(pixels, width)


# Pixels: (image, strength) -> image


def color(image: ImageArray, factor: float) -> ImageArray:
    """Blend with the luma; on one channel that is the image itself."""
    return blend(gray(image)[:, :, None], image, factor)


def contrast(image: ImageArray, factor: float) -> ImageArray:
    """Blend with the mean of the luma, rounded."""
    luma = gray(image)
    return blend((2 * int(luma.sum()) + luma.size) // (2 * luma.size), image, factor)


def sharpness(image: ImageArray, factor: float) -> ImageArray:
    """Blend with a smoothed image (3 x 3, the centre weighs 5 of 13); the border stays."""
    values = image.astype(np.int64)
    smooth = values.copy()
    height, width = image.shape[:2]
    if height > 2 and width > 2:
        around = sum(
            values[y : y + height - 2, x : x + width - 2] for y in range(3) for x in range(3)
        )
        smooth[1:-1, 1:-1] = (around + 4 * values[1:-1, 1:-1] + 6) // 13
    return blend(smooth, image, factor)


def auto_contrast(image: ImageArray, _strength: float) -> ImageArray:
    """Stretch each channel so that its values reach from 0 to 255."""
    result = image.copy()
    for channel in range(image.shape[2]):
        plane = image[:, :, channel]
        low, high = int(plane.min()), int(plane.max())
        if high > low:
            scale = 255.0 / (high - low)
            result[:, :, channel] = (plane * scale + -low * scale).astype(np.uint8)
    return result


def equalize(image: ImageArray, _strength: float) -> ImageArray:
    """Flatten each channel's histogram; fewer than 256 pixels stay as they are."""
    result = image.copy()
    for channel in range(image.shape[2]):
        plane = image[:, :, channel]
        histogram = np.bincount(plane.ravel(), minlength=256)
        step = (plane.size - histogram[plane.max()]) // 255
        if step:
            below = np.cumsum(histogram) - histogram
            result[:, :, channel] = np.minimum((step // 2 + below) // step, 255)[plane]
    return result


def _at(strength: Callable[[int], float]) -> tuple[float, ...]:
    return tuple(strength(magnitude) for magnitude in range(MAX_MAGNITUDE + 1))


_ANY = (0.0,) * (MAX_MAGNITUDE + 1)  # the operation has only one strength
_FACTORS = _at(lambda m: 0.1 + 0.18 * m)

# First those of the policies, in the order of policy.OPERATIONS; then any others.
TABLE: dict[str, Operation] = {
    row.name: row
    for row in (
        Operation("Rotate", Kind.GEOMETRY, rotate, _at(lambda m: 3.0 * m), signed=True),
        Operation("TranslateX", Kind.GEOMETRY, translate_x, _at(float), signed=True),
        Operation("TranslateY", Kind.GEOMETRY, translate_y, _at(float), signed=True),
        Operation("Brightness", Kind.LOOKUP, brightness, _FACTORS),
        Operation("Color", Kind.PIXELS, color, _FACTORS),
        Operation("Invert", Kind.LOOKUP, invert, _ANY),
        Operation("Sharpness", Kind.PIXELS, sharpness, _FACTORS),
        Operation("Posterize", Kind.LOOKUP, posterize, _at(lambda m: 4 - int(0.4 * m))),
        Operation("ShearX", Kind.GEOMETRY, shear_x, _at(lambda m: 0.03 * m), signed=True),
        Operation("Solarize", Kind.LOOKUP, solarize, _at(lambda m: 256 - int(25.6 * m))),
        Operation("ShearY", Kind.GEOMETRY, shear_y, _at(lambda m: 0.03 * m), signed=True),
        Operation("Equalize", Kind.PIXELS, equalize, _ANY),
        Operation("AutoContrast", Kind.PIXELS, auto_contrast, _ANY),
        Operation("Cutout", Kind.REGION, cutout, _at(lambda m: 2.0 * m)),
        Operation("Contrast", Kind.PIXELS, contrast, _FACTORS),
    )
}
