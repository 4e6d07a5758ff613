"""Corruptions of test images: the same every time, and worse from strength to strength."""

import numpy as np
import pytest

from rolekd.augment import reference
from rolekd.augment.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from rolekd.augment.ops import TABLE
from rolekd.augment.recipe import Variant

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
FILL = (10, 20, 30)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_is_worse_at_every_strength_and_the_same_every_time(name: str) -> None:
    before = IMAGES.copy()
    found = [corrupted(IMAGES, name, strength, FILL, 7) for strength in range(1, STRENGTHS + 1)]
    assert np.array_equal(IMAGES, before)
    assert np.array_equal(found[2], corrupted(IMAGES, name, 3, FILL, 7))
    away = [np.abs(one.astype(int) - IMAGES).mean() for one in found]
    assert away[0] > 0
    if name not in ("rotated", "shifted", "sheared"):  # of noise all shifts are as far away
        assert away == sorted(away)


@pytest.mark.parametrize("name", ["dark", "flat", "smooth", "coarse"])
@pytest.mark.parametrize("strength", [1, STRENGTHS])
def test_it_is_the_operation_at_its_strength(name: str, strength: int) -> None:
    operation, strengths = CORRUPTIONS[name]
    variant = Variant(TABLE[operation], strengths[strength - 1])
    wanted = [reference.apply(variant, one, np.array(FILL, np.uint8), (0, 0)) for one in IMAGES]
    assert np.array_equal(corrupted(IMAGES, name, strength, FILL, 0), np.stack(wanted))
