"""The readable form of the engine: one image after the other, one operation after the other.

Every compiled form is compared with this one, and this one with Pillow. Operations that have no
compiled form run here too.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rolekd.augment.draws import DrawPlan
from rolekd.augment.ops import ImageArray, Kind
from rolekd.augment.recipe import Base, Recipe, Variant, fixed_point

Colour = NDArray[np.uint8]


def apply(variant: Variant, image: ImageArray, fill: Colour, centre: tuple[int, int]) -> ImageArray:
    """Apply one operation to an image [H, W, C].

    Args:
        variant: the operation at its strength.
        image: only read.
        fill: [C], the colour of what comes in from outside, and of regions.
        centre: (y, x) of a region; other operations do not use it.
    """
    operation, strength = variant.operation, variant.strength
    height, width = image.shape[:2]
    if operation.kind is Kind.LOOKUP:
        return np.asarray(operation.function(strength)[image], np.uint8)
    if operation.kind is Kind.GEOMETRY:
        return sample(image, fixed_point(operation.function(strength, height, width)), fill)
    if operation.kind is Kind.REGION:
        return fill_region(image, operation.function(strength, height, width), fill, centre)
    return np.asarray(operation.function(image, strength), np.uint8)


def sample(
    image: ImageArray, affine: tuple[int, int, int, int, int, int], fill: Colour
) -> ImageArray:
    """Sample nearest pixels along an affine map in 16.16 fixed point."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    a, b, c, d, e, f = affine
    from_x, from_y = (a * x + b * y + c) >> 16, (d * x + e * y + f) >> 16
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    result = np.broadcast_to(fill, image.shape).copy()
    result[inside] = image[from_y[inside], from_x[inside]]
    return result


def fill_region(
    image: ImageArray, shape: tuple[int, int], fill: Colour, centre: tuple[int, int]
) -> ImageArray:
    """Fill the rectangle (rows, columns) around a centre; it is cut off at the border."""
    top, left = (place - side // 2 for place, side in zip(centre, shape, strict=True))
    result = image.copy()
    result[max(top, 0) : max(top + shape[0], 0), max(left, 0) : max(left + shape[1], 0)] = fill
    return result


def finish(image: ImageArray, base: Base, fill: Colour, drawn: DrawPlan, index: int) -> ImageArray:
    """Apply the base augmentation: pad, crop, flip, Cutout."""
    height, width, channels = image.shape
    padding = base.crop_padding
    padded = np.broadcast_to(fill, (height + 2 * padding, width + 2 * padding, channels)).copy()
    padded[padding : padding + height, padding : padding + width] = image
    top, left = drawn.crop[index]
    result = padded[top : top + height, left : left + width]
    if drawn.flip[index]:
        result = result[:, ::-1]
    y, x = map(int, drawn.cutout[index])
    return fill_region(result, (base.cutout, base.cutout), fill, (y, x))


def augment(
    images: NDArray[np.uint8],
    out: NDArray[np.uint8],
    recipe: Recipe,
    base: Base,
    fill: Colour,
    drawn: DrawPlan,
    which: Iterable[int],
) -> None:
    """Augment the images with the given indices of a batch [N, H, W, C] into `out`."""
    for index in which:
        image = images[index]
        for row, sign, centre in zip(
            drawn.rows[index], drawn.signs[index], drawn.centres[index], strict=True
        ):
            if row:
                image = apply(recipe.variants[row - 1][sign], image, fill, tuple(centre))
        out[index] = finish(image, base, fill, drawn, index)
