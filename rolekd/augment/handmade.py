"""Hand-made augmentations through the same engine: RandAugment, TrivialAugment, Adaptive.

RandAugment (Cubuk et al. 2020) and TrivialAugment Wide (Müller, Hutter 2021) with the operations
and ranges of torchvision's transforms, which are what people compare with: 14 operations, one of
them the identity, strengths on a grid of `bins` steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rolekd.augment.ops import REFERENCE_SIZE, TABLE, AffineMap, Kind, Operation
from rolekd.augment.recipe import Recipe, as_thresholds, both_signs
from rolekd.errors import InputError

_BLENDS = ("Brightness", "Color", "Contrast", "Sharpness")
_FIXED = ("AutoContrast", "Equalize")


def _shift_x(pixels: float, *_size: int) -> AffineMap:
    return 1.0, 0.0, pixels, 0.0, 1.0, 0.0


def _shift_y(pixels: float, *_size: int) -> AffineMap:
    return 1.0, 0.0, 0.0, 0.0, 1.0, pixels


# The policies' translations scale with the image; these take real pixels.
_SHIFTS = {
    "TranslateX": Operation("TranslateX", Kind.GEOMETRY, _shift_x, (), signed=True),
    "TranslateY": Operation("TranslateY", Kind.GEOMETRY, _shift_y, (), signed=True),
}


@dataclass(frozen=True)
class RandAugment:
    """Apply `operations` operations, each drawn uniformly, all at one magnitude of the grid.

    Attributes:
        operations: number applied to each image.
        magnitude: place on the grid of strengths, 0..bins-1.
        bins: length of the grid.
    """

    operations: int = 2
    magnitude: int = 9
    bins: int = 31

    def __post_init__(self) -> None:
        _check_bins(self.bins)
        if self.operations < 1:
            raise InputError(f"RandAugment: operations is {self.operations}; make it at least 1")
        if not 0 <= self.magnitude < self.bins:
            raise InputError(
                f"RandAugment: magnitude {self.magnitude} is outside the grid; "
                f"make it at least 0 and at most {self.bins - 1}"
            )

    def recipe(self, height: int, width: int) -> Recipe:
        """Return the recipe for images of a size."""
        grids = {
            "ShearX": _line(0.0, 0.3, self.bins),
            "ShearY": _line(0.0, 0.3, self.bins),
            "TranslateX": np.trunc(_line(0.0, 150.0 / 331.0 * width, self.bins)),
            "TranslateY": np.trunc(_line(0.0, 150.0 / 331.0 * height, self.bins)),
            "Rotate": _line(0.0, 30.0, self.bins),
            **dict.fromkeys(_BLENDS, _line(0.0, 0.9, self.bins)),
            "Posterize": _bits(4, self.bins),
            "Solarize": _line(255.0, 0.0, self.bins),
            **dict.fromkeys(_FIXED, np.zeros(self.bins)),
        }
        chosen = {name: grid[self.magnitude : self.magnitude + 1] for name, grid in grids.items()}
        return _uniform(chosen, self.operations)


@dataclass(frozen=True)
class Adaptive:
    """RandAugment whose magnitude is each image's own: it has a level for every magnitude.

    In a training an image's level follows how sure the network is of it
    (`rolekd.train.strengths`). Level m is `RandAugment(operations, m, bins)`, draw for draw.

    Attributes:
        operations: number applied to each image.
        bins: length of the grid of strengths, and number of levels.

    Raises:
        InputError: fewer than one operation, or than two bins.
    """

    operations: int = 2
    bins: int = 31

    def __post_init__(self) -> None:
        RandAugment(self.operations, 0, self.bins)  # checks both

    def recipe(self, height: int, width: int) -> Recipe:
        """Return the recipe for images of a size; its levels are the magnitudes."""
        of_levels = [
            RandAugment(self.operations, magnitude, self.bins).recipe(height, width)
            for magnitude in range(self.bins)
        ]
        variants = tuple(pair for one in of_levels for pair in one.variants)
        return Recipe(variants, of_levels[0].thresholds, levels=self.bins)


@dataclass(frozen=True)
class TrivialAugment:
    """Apply one operation, drawn uniformly, at a strength drawn uniformly from a wide grid.

    Attributes:
        bins: length of the grid.
        scaled: scale the translations, up to 32 pixels by definition, with the size of the
            image. At 32 pixels this changes nothing; at 8 it keeps most digits in the picture.
    """

    bins: int = 31
    scaled: bool = False

    def __post_init__(self) -> None:
        _check_bins(self.bins)

    def recipe(self, height: int, width: int) -> Recipe:
        """Return the recipe for images of a size."""
        rows, columns = (height, width) if self.scaled else (REFERENCE_SIZE, REFERENCE_SIZE)
        grids = {
            "ShearX": _line(0.0, 0.99, self.bins),
            "ShearY": _line(0.0, 0.99, self.bins),
            "TranslateX": np.trunc(_line(0.0, columns, self.bins)),
            "TranslateY": np.trunc(_line(0.0, rows, self.bins)),
            "Rotate": _line(0.0, 135.0, self.bins),
            **dict.fromkeys(_BLENDS, _line(0.0, 0.99, self.bins)),
            "Posterize": _bits(6, self.bins),
            "Solarize": _line(255.0, 0.0, self.bins),
            **dict.fromkeys(_FIXED, np.zeros(1)),
        }
        return _uniform(grids, 1)


@dataclass(frozen=True)
class Single:
    """Apply one operation at one strength to every image, with a random sign where it has one."""

    operation: Operation
    strength: float

    def recipe(self, height: int, width: int) -> Recipe:  # noqa: ARG002 - the strength is given
        """Return the recipe."""
        rows = (both_signs(self.operation, self.strength),)
        return Recipe(rows, as_thresholds(np.array([[[0.0, 1.0]]])))


def _uniform(grids: dict[str, NDArray[np.float64]], steps: int) -> Recipe:
    """Draw an operation uniformly (the identity is one more), then one of its strengths."""
    share = 1.0 / (len(grids) + 1)
    probabilities, variants = [share], []
    for name, grid in grids.items():
        for strength in map(float, grid):
            probabilities.append(share / len(grid))
            if name in _BLENDS:  # the sign is of the distance from the identity
                row = TABLE[name]
                pair = (both_signs(row, 1.0 + strength)[0], both_signs(row, 1.0 - strength)[0])
            else:
                pair = both_signs(_SHIFTS.get(name, TABLE[name]), strength)
            variants.append(pair)
    chain = np.tile(probabilities, (steps, 1, 1))
    return Recipe(tuple(variants), as_thresholds(chain))


def _line(start: float, end: float, bins: int) -> NDArray[np.float64]:
    """Return evenly spaced strengths with the single-precision values of `torch.linspace`.

    It counts from the nearer end and rounds once (fused multiply-add). The last bits decide
    where a strength is cut to an integer.
    """
    step = float((np.float32(end) - np.float32(start)) / np.float32(bins - 1))
    count = np.arange(bins)
    line = np.where(
        count < bins // 2, np.float32(start) + step * count, np.float32(end) - step * count[::-1]
    )
    return np.asarray(line, np.float32).astype(np.float64)


def _bits(lost: int, bins: int) -> NDArray[np.float64]:
    """Return the bits that Posterize keeps: 8 down to 8 - lost."""
    grid = np.arange(bins, dtype=np.float32) / np.float32((bins - 1) / lost)
    return np.asarray(8.0 - np.rint(grid), np.float64)


def _check_bins(bins: int) -> None:
    if bins < 2:
        raise InputError(f"augmentation: a grid of {bins} bins; make it at least 2")
