"""Whole policies in Pillow, image by image: the peer of the bench and the oracle of the tests.

Written from Pillow's documented operations and independent of `rolekd.augment.ops`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from rolekd.augment.draws import DrawPlan
from rolekd.augment.recipe import Base, Recipe, Variant

Colour = Any  # an integer for one channel, a tuple for three
_Operation = Callable[[Image.Image, float, Colour], Image.Image]


def _affine(image: Image.Image, matrix: tuple[float, ...], fill: Colour) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=fill
    )


def _pixels(amount: float, size: int) -> int:
    """Scale whole pixels at 32 to a size, halves away from zero."""
    whole = (2 * abs(int(amount)) * size + 32) // 64
    return whole if amount >= 0 else -whole


_OPERATIONS: dict[str, _Operation] = {
    "Rotate": lambda image, v, fill: image.rotate(v, Image.Resampling.NEAREST, fillcolor=fill),
    "TranslateX": lambda image, v, fill: _affine(
        image, (1, 0, _pixels(v, image.width), 0, 1, 0), fill
    ),
    "TranslateY": lambda image, v, fill: _affine(
        image, (1, 0, 0, 0, 1, _pixels(v, image.height)), fill
    ),
    "ShearX": lambda image, v, fill: _affine(image, (1, v, 0, 0, 1, 0), fill),
    "ShearY": lambda image, v, fill: _affine(image, (1, 0, 0, v, 1, 0), fill),
    "Invert": lambda image, _v, _fill: ImageOps.invert(image),
    "Posterize": lambda image, v, _fill: ImageOps.posterize(image, int(v)),
    "Solarize": lambda image, v, _fill: ImageOps.solarize(image, int(v)),
    "AutoContrast": lambda image, _v, _fill: ImageOps.autocontrast(image),
    "Equalize": lambda image, _v, _fill: ImageOps.equalize(image),
    "Brightness": lambda image, v, _fill: ImageEnhance.Brightness(image).enhance(v),
    "Color": lambda image, v, _fill: ImageEnhance.Color(image).enhance(v),
    "Contrast": lambda image, v, _fill: ImageEnhance.Contrast(image).enhance(v),
    "Sharpness": lambda image, v, _fill: ImageEnhance.Sharpness(image).enhance(v),
}


def apply(
    variant: Variant, image: Image.Image, fill: Colour, centre: tuple[int, int]
) -> Image.Image:
    """Apply one operation; `centre` is that of a Cutout."""
    if variant.operation.name == "Cutout":
        shape = _pixels(variant.strength, image.height), _pixels(variant.strength, image.width)
        return _filled(image, shape, fill, centre)
    return _OPERATIONS[variant.operation.name](image, variant.strength, fill)


def finish(
    image: Image.Image, base: Base, fill: Colour, drawn: DrawPlan, index: int
) -> Image.Image:
    """Apply the base augmentation."""
    top, left = map(int, drawn.crop[index])
    image = ImageOps.expand(image, base.crop_padding, fill).crop(
        (left, top, left + image.width, top + image.height)
    )
    if drawn.flip[index]:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if base.cutout:
        y, x = map(int, drawn.cutout[index])
        image = _filled(image, (base.cutout, base.cutout), fill, (y, x))
    return image


def augment(
    images: NDArray[np.uint8],
    recipe: Recipe,
    base: Base,
    fill: tuple[int, ...],
    drawn: DrawPlan,
    only: Iterable[int],
) -> NDArray[np.uint8]:
    """Replay a plan on the images with the given indices."""
    colour: Colour = fill if len(fill) == 3 else fill[0]
    results = []
    for index in only:
        image = Image.fromarray(images[index] if len(fill) == 3 else images[index, :, :, 0])
        for step, row in enumerate(drawn.rows[index]):
            if row:
                variant = recipe.variants[row - 1][drawn.signs[index, step]]
                y, x = map(int, drawn.centres[index, step])
                image = apply(variant, image, colour, (y, x))
        image = finish(image, base, colour, drawn, index)
        results.append(np.asarray(image).reshape(images.shape[1:]))
    return np.stack(results)


def _filled(
    image: Image.Image, shape: tuple[int, int], fill: Colour, centre: tuple[int, int]
) -> Image.Image:
    top, left = centre[0] - shape[0] // 2, centre[1] - shape[1] // 2
    box = (max(left, 0), max(top, 0), min(left + shape[1], image.width),
           min(top + shape[0], image.height))  # fmt: skip
    image = image.copy()
    if box[0] < box[2] and box[1] < box[3]:
        image.paste(fill, box)
    return image
