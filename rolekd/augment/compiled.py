"""A recipe for compiled engines: plain arrays without Python objects."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rolekd.augment.ops import Kind
from rolekd.augment.recipe import Recipe, Variant, fixed_point

IDLE, LOOKUP, GEOMETRY, REGION, COLOR, SHARPNESS = range(6)
CONTRAST, AUTO_CONTRAST, EQUALIZE = range(6, 9)  # lookups whose tables depend on the pixels
UNCOMPILED = -1  # has no fast form; runs in rolekd.augment.reference

_PIXELS = {
    "Color": COLOR,
    "Contrast": CONTRAST,
    "Sharpness": SHARPNESS,
    "AutoContrast": AUTO_CONTRAST,
    "Equalize": EQUALIZE,
}


@dataclass(frozen=True, eq=False)
class Tables:
    """A recipe as arrays: V variants in both signs, number 0 does nothing.

    Attributes:
        thresholds: uint64 [S, P, K], see `Recipe`.
        codes: int64 [V, 2], what a variant does.
        numbers: int64 [V, 2, 6], affine map in 16.16 fixed point, or (rows, columns).
        factors: float32 [V, 2], of blends.
        lookups: uint8 [V, 2, 256].
    """

    thresholds: NDArray[np.uint64]
    codes: NDArray[np.int64]
    numbers: NDArray[np.int64]
    factors: NDArray[np.float32]
    lookups: NDArray[np.uint8]

    @functools.cached_property
    def has_uncompiled(self) -> bool:
        """Whether some operation has no fast form."""
        return bool((self.codes == UNCOMPILED).any())


@functools.lru_cache(maxsize=256)
def tables_of(recipe: Recipe, height: int, width: int, channels: int) -> Tables:
    """Return the arrays of a recipe for images of a shape."""
    rows = len(recipe.variants) + 1
    tables = Tables(
        recipe.thresholds,
        np.zeros((rows, 2), np.int64),
        np.zeros((rows, 2, 6), np.int64),
        np.zeros((rows, 2), np.float32),
        np.zeros((rows, 2, 256), np.uint8),
    )
    for row, pair in enumerate(recipe.variants, start=1):
        for sign, variant in enumerate(pair):
            _write(tables, (row, sign), variant, (height, width, channels))
    return tables


def _write(
    tables: Tables, at: tuple[int, int], variant: Variant, shape: tuple[int, int, int]
) -> None:
    """Write one variant, unless it leaves every image as it is."""
    operation, strength = variant.operation, variant.strength
    height, width, channels = shape
    if operation.kind is Kind.LOOKUP:
        tables.lookups[at] = operation.function(strength)
        if (tables.lookups[at] != np.arange(256)).any():
            tables.codes[at] = LOOKUP
    elif operation.kind is Kind.GEOMETRY:
        tables.numbers[at] = fixed_point(operation.function(strength, height, width))
        tables.codes[at] = GEOMETRY
    elif operation.kind is Kind.REGION:
        tables.numbers[at][:2] = operation.function(strength, height, width)
        tables.codes[at] = REGION
    else:
        tables.factors[at] = strength
        blends = operation.name in ("Color", "Contrast", "Sharpness")
        identity = (blends and strength == 1.0) or (operation.name == "Color" and channels == 1)
        if not identity:
            tables.codes[at] = _PIXELS.get(operation.name, UNCOMPILED)
