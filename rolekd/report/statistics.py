"""How sure differences are: p values, intervals, and how many seeds are needed.

Two arms are compared in pairs: the same seed gives both the same teacher, start and order of
images. Two things are random: the training, which seeds represent, and which images are in the test
split.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

EXACT_PAIRS = 14  # whose signs are enumerated; with more pairs as many signs are drawn
_MOST = 2**EXACT_PAIRS
_RESAMPLES = 4000
POWER = 0.8
_MOST_SEEDS = 1000  # that are considered
_CERTAIN = 30.0  # standard errors
_ROUNDING = 1e-9  # differences within it are equal

Floats = NDArray[np.floating[Any]]


def paired_p_value(gaps: Floats) -> float:
    """Return the two-sided p of differences [pairs], by the signs that chance could have flipped.

    With up to 14 pairs it is exact: the share of all 2^n sign patterns whose mean is as far from
    zero. Its least value is 2 / 2^n: 0.25 with 3 pairs, 0.031 with 6, 0.0078 with 8.
    """
    found = stats.permutation_test(
        (np.asarray(gaps, np.float64),),
        np.mean,
        permutation_type="samples",
        n_resamples=_MOST,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values adjusted for their number, in the same order (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, (len(p_values) - rank) * p_values[place])
        adjusted[place] = min(highest, 1.0)
    return adjusted


def t_interval(gaps: Floats, confidence: float) -> tuple[float, float]:
    """Return the interval of a mean over seeds by Student's t; it says nothing of the images."""
    if np.ptp(gaps) < _ROUNDING:  # scipy warns, rightly: nothing varies
        return float(gaps.mean()), float(gaps.mean())
    found = stats.ttest_1samp(gaps, 0.0).confidence_interval(confidence)
    return float(found.low), float(found.high)


def two_way_interval(gaps: Floats, confidence: float) -> tuple[float, float]:
    """Return the interval of a mean difference over seeds and test images, by the bootstrap.

    Seeds and images are both drawn anew, with replacement, 4,000 times, always the same ones (the
    pigeonhole bootstrap of Owen 2007, "The pigeonhole bootstrap", which is on the safe side where
    both are random). `scipy.stats.bootstrap` draws along one axis.

    Args:
        gaps: [seeds, images], of two arms: 1 where only the first is right, -1 where only the
            second is, else 0; or a mean of several such.
        confidence: Share of the resamples that lie in the interval.
    """
    gaps = np.asarray(gaps, np.float64)
    seeds, images = gaps.shape
    generator = np.random.default_rng(0)
    # images on which the arms differ alike are drawn together: most do not differ
    patterns, counts = np.unique(gaps, axis=1, return_counts=True)
    drawn = generator.multinomial(images, counts / images, size=_RESAMPLES)
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=_RESAMPLES)
    means = np.einsum("rs,rs->r", weights, drawn @ patterns.T) / (seeds * images)
    # with few seeds the bootstrap's spread is too small by this factor
    spread = np.sqrt(seeds / (seeds - 1)) if seeds > 1 else 1.0
    centre = float(gaps.mean())
    low, high = np.quantile(means - centre, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return centre + float(spread * low), centre + float(spread * high)


def attainable(seeds: int, level: float) -> float:
    """Return the largest p that the exact test on this many pairs can give up to a level, or 0.

    Its p values are multiples of 2 / 2^n, so with few pairs they cannot be small.
    """
    if seeds > EXACT_PAIRS:
        return level
    steps = 2.0 ** (seeds - 1)
    return float(np.floor(level * steps + _ROUNDING) / steps)


def power(deviation: float, difference: float, seeds: int, level: float) -> float:
    """Return about how often this many pairs find a difference, by the t test at an exact level.

    Args:
        deviation: Standard deviation of the pairs' differences.
        difference: The true mean.
        seeds: Number of pairs.
        level: Of the exact test, two-sided; 0.05 / m where Holm's first of m must be below it.
    """
    level = attainable(seeds, level)
    if seeds < 2 or level == 0:
        return 0.0
    if deviation == 0:
        return 1.0 if difference else level
    shift = difference / deviation * np.sqrt(seeds)
    if shift > _CERTAIN:  # where the distribution's tails underflow
        return 1.0
    bound = stats.t.ppf(1 - level / 2, seeds - 1)
    above = stats.nct.sf(bound, seeds - 1, shift)
    below = stats.nct.cdf(-bound, seeds - 1, shift)  # NaN where it is nearly 0
    return float(above + np.nan_to_num(below))


def seeds_needed(gaps: Floats, difference: float, level: float) -> int | None:
    """Return the number of seeds that find a difference four times in five; None: over 1,000.

    Args:
        gaps: [seeds] differences of pairs, whose spread is taken for that of others.
        difference: The true mean to be found.
        level: See `power`.
    """
    deviation = float(np.std(gaps, ddof=1))
    return next(
        (n for n in range(2, _MOST_SEEDS + 1) if power(deviation, difference, n, level) >= POWER),
        None,
    )


def detectable(gaps: Floats, level: float) -> float:
    """Return the difference that as many pairs as these find four times in five.

    It is infinite if they are too few to find any; `level` as in `power`.
    """
    count, deviation = len(gaps), float(np.std(gaps, ddof=1))
    if power(1.0, _CERTAIN, count, level) < POWER:
        return float("inf")
    found = optimize.brentq(lambda gap: power(1.0, gap, count, level) - POWER, 0.0, _CERTAIN)
    return float(found) * deviation
