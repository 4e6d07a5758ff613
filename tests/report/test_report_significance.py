"""p values against their definition, and Holm's adjustment against its own."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekd.report.significance import holm, paired_p_value


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pairs", [2, 3, 8])
def test_p_is_the_share_of_signs_that_go_as_far(seed: int, pairs: int) -> None:
    gaps = np.random.default_rng(seed).normal(0.3, 1, pairs)
    means = [np.mean(gaps * signs) for signs in itertools.product((1, -1), repeat=pairs)]
    expected = np.mean(np.abs(means) >= abs(gaps.mean()) * (1 - 1e-12))
    assert paired_p_value(gaps) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pairs", "least"), [(3, 0.25), (6, 2 / 64), (8, 2 / 256), (14, 2 / 2**14)]
)
def test_the_least_p_of_so_many_pairs(pairs: int, least: float) -> None:
    assert paired_p_value(np.linspace(1, 2, pairs)) == pytest.approx(least)


def test_many_pairs_are_drawn_the_same_every_time() -> None:
    gaps = np.random.default_rng(0).normal(0.2, 1, 20)
    assert paired_p_value(gaps) == paired_p_value(gaps)
    assert 0 < paired_p_value(gaps) <= 1


def test_holm_multiplies_by_the_comparisons_that_are_left() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_adjusted_values_keep_the_order_and_lie_between(values: list[float]) -> None:
    adjusted = holm(values)
    for value, more in zip(values, adjusted, strict=True):
        assert value <= more <= min(1.0, value * len(values)) + 1e-12
    assert np.all(np.diff(np.array(adjusted)[np.argsort(values, kind="stable")]) >= 0)
