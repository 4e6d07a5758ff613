"""Common corruptions of test images, made by the operations of the policies, at five strengths.

They measure a network on images that are a little worse than those it was tested on, as
Hendrycks & Dietterich 2019 do with ImageNet-C. Ours are the operations of the augmentation, so for
a network that was trained with them they show how much of them it has learned, not how it copes
with unseen corruptions.
"""

from rolekd.augment.engine import Array, Engine
from rolekd.augment.handmade import Single
from rolekd.augment.ops import TABLE

STRENGTHS = 5
# name -> (operation, its strengths, from weak to strong; pixels are those at a side of 32)
CORRUPTIONS: dict[str, tuple[str, tuple[float, ...]]] = {
    "rotated": ("Rotate", (6.0, 12.0, 18.0, 24.0, 30.0)),
    "shifted": ("TranslateX", (2.0, 4.0, 6.0, 8.0, 10.0)),
    "sheared": ("ShearX", (0.1, 0.2, 0.3, 0.4, 0.5)),
    "dark": ("Brightness", (0.8, 0.6, 0.45, 0.3, 0.2)),
    "flat": ("Contrast", (0.8, 0.6, 0.45, 0.3, 0.2)),
    "smooth": ("Sharpness", (0.8, 0.6, 0.4, 0.2, 0.0)),
    "coarse": ("Posterize", (5.0, 4.0, 3.0, 2.0, 1.0)),
    "hidden": ("Cutout", (6.0, 9.0, 12.0, 15.0, 18.0)),
}


def corrupted(images: Array, name: str, strength: int, fill: tuple[int, ...], seed: int) -> Array:
    """Return corrupted copies of images.

    Args:
        images: uint8 [N, H, W, C].
        name: A key of `CORRUPTIONS`.
        strength: 1 to 5.
        fill: Colour of pixels from outside the image, per channel.
        seed: Decides signs and places, where an operation has them; 0..2^64-1.

    Raises:
        InputError: The channels do not fit the fill.
    """
    operation, strengths = CORRUPTIONS[name]
    single = Single(TABLE[operation], strengths[strength - 1])
    return Engine(fill).apply(images, single, seed)
