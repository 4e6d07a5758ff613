"""The ladder: policies from nothing to more than RandAugment, one scalar of strength."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekd.augment import ladder
from rolekd.augment.engine import Engine
from rolekd.augment.handmade import RandAugment
from rolekd.augment.ops import TABLE
from rolekd.augment.policy import OPERATIONS, Policy
from rolekd.errors import InputError

NAMES = st.builds(
    "{}-{}".format, st.sampled_from([*ladder.FAMILIES]), st.integers(0, ladder.HIGHEST)
)


def _change(augmentation, images):
    """Mean absolute change of the pixels."""
    out = Engine((128, 128, 128)).apply(images, augmentation, 0)
    return float(np.abs(out.astype(int) - images).mean())


@pytest.fixture(scope="module")
def images():
    # smooth, as photographs are: geometry would do anything to noise
    grid = np.linspace(0, 3, 32)
    down, across = grid[:, None, None], grid[None, :, None]
    waves = np.sin(down * np.arange(1, 4) + across * np.arange(3, 0, -1))
    whole = np.stack([np.roll(waves, shift, axis=1) for shift in range(0, 320, 5)])
    return ((whole + 1) * 100 + 20).astype(np.uint8)


@given(name=NAMES)
def test_a_rung_acts_with_the_operations_of_its_family(name):
    family, strength = ladder.parse(name)
    acting = {entry.operation for entry in ladder.policy(name).entries() if entry.probability}
    assert acting <= set(ladder.FAMILIES[family]) <= set(OPERATIONS)
    assert bool(acting) == bool(strength)


@given(name=NAMES)
def test_blends_stand_on_both_sides_of_their_identity(name):
    for operation in ("Brightness", "Color", "Contrast", "Sharpness"):
        factors = [
            TABLE[operation].strengths[entry.magnitude] - 1
            for entry in ladder.policy(name).entries()
            if entry.operation == operation and entry.probability
        ]
        assert not factors or min(factors) < -0.1 < 0.1 < max(factors)
        assert sum(factors) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("family", [*ladder.FAMILIES])
def test_a_higher_rung_changes_images_more(family, images):
    changes = [_change(ladder.policy(f"{family}-{s}"), images) for s in range(ladder.HIGHEST + 1)]
    assert changes[0] == 0
    assert np.corrcoef(np.arange(len(changes)), changes)[0, 1] > 0.9
    assert changes[1] < changes[4] < changes[10]


def test_it_reaches_beyond_randaugment(images):
    reference = _change(RandAugment(), images)
    assert _change(ladder.policy("all-1"), images) < 0.5 * reference
    assert _change(ladder.policy("all-10"), images) > 1.2 * reference


def test_strength_zero_is_the_policy_of_nothing():
    assert ladder.policy("all-0") == Policy.zeros()


@pytest.mark.parametrize("name", ["all-11", "all--1", "shape-3", "all", "all-3.5", "", "all-100"])
def test_what_is_not_a_rung_is_refused(name):
    with pytest.raises(InputError, match="not a rung of the ladder"):
        ladder.policy(name)
