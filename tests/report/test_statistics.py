"""p values and intervals against their definitions, power against scipy and simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekd.report.statistics import (
    POWER,
    attainable,
    detectable,
    holm,
    paired_p_value,
    power,
    seeds_needed,
    t_interval,
    two_way_interval,
)


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


def test_the_interval_over_seeds_is_students() -> None:
    gaps = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    half = 2.446912 * np.sqrt(28 / 6) / np.sqrt(7)  # the 97.5 % quantile of 6 degrees of freedom
    assert t_interval(gaps, 0.95) == pytest.approx((4 - half, 4 + half), abs=1e-5)


def _crossed(generator: np.random.Generator, seeds: int, images: int) -> np.ndarray:
    """Differences of two arms, of a mean of 0.02, with effects of seeds, images and both."""
    by_seed = generator.normal(0, 0.02, (seeds, 1))
    by_image = generator.normal(0, 0.6, (1, images))
    chance = 0.02 + by_seed + 0.1 * by_image
    drawn = generator.random((seeds, images))
    return np.where(drawn < np.abs(chance), np.sign(chance), 0.0)


def test_the_interval_over_seeds_and_images_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    found = [two_way_interval(_crossed(generator, 8, 200), 0.95) for _ in range(100)]
    hits = np.mean([low <= 0.02 <= high for low, high in found])
    assert 0.92 <= hits <= 0.995
    over_seeds = [t_interval(_crossed(generator, 8, 200).mean(1), 0.95) for _ in range(100)]
    # which says nothing of the images, and holds the truth less often
    assert np.mean([low <= 0.02 <= high for low, high in over_seeds]) < hits


def test_many_images_leave_the_seeds_and_many_seeds_the_images() -> None:
    generator = np.random.default_rng(1)
    one_image = np.repeat(generator.normal(0.1, 1, (8, 1)), 500, axis=1)
    low, high = two_way_interval(one_image, 0.95)
    resampled = one_image[:, 0][generator.integers(0, 8, (20_000, 8))].mean(1)
    spread = np.sqrt(8 / 7) * np.quantile(resampled - one_image.mean(), [0.025, 0.975])
    assert (low, high) == pytest.approx(one_image.mean() + spread, abs=0.04)
    assert two_way_interval(np.ones((1, 50)), 0.95) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(("seeds", "level"), [(6, 0.05), (8, 0.05), (8, 0.05 / 3), (8, 0.05 / 6)])
def test_power_is_about_the_share_of_simulated_exact_tests_that_find_it(seeds, level) -> None:
    generator = np.random.default_rng(2)
    signs = np.array(list(itertools.product((1, -1), repeat=seeds)))
    gaps = generator.normal(1.5, 1.0, (4000, seeds))
    means = np.abs(gaps @ signs.T)
    p_values = (means >= np.abs(gaps.sum(1))[:, None] - 1e-12).mean(1)
    found = (p_values <= level).mean()
    assert power(1.0, 1.5, seeds, level) == pytest.approx(found, abs=0.12)


def test_few_pairs_have_no_small_p() -> None:
    assert attainable(5, 0.05) == 0.0  # the least p of five pairs is 0.0625
    assert attainable(6, 0.05) == 2 / 2**6
    assert attainable(8, 0.05 / 8) == 0.0
    assert attainable(8, 0.05) == 12 / 2**8
    assert power(1.0, 100.0, 5, 0.05) == 0.0
    assert power(0.0, 0.1, 8, 0.05) == 1.0


def test_what_can_be_found_and_how_many_seeds_find_it_agree() -> None:
    gaps = np.random.default_rng(4).normal(0.0, 0.01, 8)
    least = detectable(gaps, 0.05)
    assert power(float(gaps.std(ddof=1)), least, 8, 0.05) == pytest.approx(POWER, abs=1e-3)
    assert seeds_needed(gaps, 1.01 * least, 0.05) == 8
    assert seeds_needed(gaps, 0.5 * least, 0.05) > 20
    assert seeds_needed(gaps, 1e-5, 0.05) is None
    assert detectable(gaps[:5], 0.05) == float("inf")
