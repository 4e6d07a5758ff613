"""Can cheap predictors say which augmentation teaches better?

Wang et al. 2022, "What Makes a 'Good' Data Augmentation in Knowledge Distillation"
(arXiv:2012.02909), find that a smaller standard deviation of the teacher's mean probability goes
with a better student, whatever the student. A search measures both in every training.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import permutation_test, rankdata

from rolekd.report.histories import SearchRow
from rolekd.report.style import style
from rolekd.report.tables import Floats

# name in the rows of a search -> what people read
PREDICTORS = {
    "teacher_stddev": "the teacher's standard deviation",
    "teacher_only_right": "the share of images that only the teacher gets right",
}
_FEWEST = 4  # candidates; with fewer a rank correlation is meaningless
_PERMUTATIONS = 10_000
_LEVEL = 0.05
_WIDTH = 4.6  # inches


@dataclass(frozen=True)
class Correlation:
    """Rank correlation of the predictor with the accuracy, within generations.

    Attributes:
        rho: Spearman's, pooled over the generations, -1..1.
        p_value: two-sided, by permutation within the generations.
        trainings, generations: how many it rests on.
    """

    rho: float
    p_value: float
    trainings: int
    generations: int


def correlate(rows: Sequence[SearchRow]) -> Correlation | None:
    """Correlate predictor and accuracy; None where nothing was measured, or nothing varies.

    Accuracy grows from generation to generation whatever the policies do, so both are ranked
    within each generation, and the centred ranks are pooled. Members with the same
    parent resemble each other, which the permutations ignore: p is rather too small.
    """
    ranked = [
        (_ranks(group, "teacher_stddev"), _ranks(group, "accuracy")) for group in _groups(rows)
    ]
    ranked = [pair for pair in ranked if all(np.any(ranks) for ranks in pair)]
    if not ranked:
        return None
    scale = np.sqrt(sum(x @ x for x, _ in ranked) * sum(y @ y for _, y in ranked))
    measured = sum(float(x @ y) for x, y in ranked) / scale
    generator = np.random.default_rng(0)
    drawn = np.zeros(_PERMUTATIONS)
    for x, y in ranked:
        drawn += generator.permuted(np.tile(y, (_PERMUTATIONS, 1)), axis=1) @ x
    extreme = int(np.sum(np.abs(drawn / scale) >= abs(measured) - 1e-12))
    return Correlation(
        rho=float(measured),
        p_value=(extreme + 1) / (_PERMUTATIONS + 1),
        trainings=sum(len(x) for x, _ in ranked),
        generations=len(ranked),
    )


def agreement(measured: Sequence[float], gains: Sequence[float]) -> tuple[float, float] | None:
    """Return Spearman's rho of two lists and its p, by permutation; exact for up to 7 of them.

    None: there are too few, or one of the lists does not vary.
    """
    x, y = np.asarray(rankdata(measured)), np.asarray(rankdata(gains))
    if len(x) < _FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    found = permutation_test(
        (x,),
        lambda ranks: np.corrcoef(ranks, y)[0, 1],
        permutation_type="pairings",
        vectorized=False,
        n_resamples=_PERMUTATIONS,
        rng=np.random.default_rng(0),
    )
    return float(found.statistic), float(found.pvalue)


def sentence(found: Correlation) -> str:
    """Describe the correlation, whichever way it points."""
    numbers = (
        f"Spearman's rho {found.rho:+.2f}, p = {found.p_value:.4f}, {found.trainings} trainings in "
        f"{found.generations} generations"
    )
    if found.p_value >= _LEVEL:
        return (
            "Within generations, the teacher's standard deviation predicted the student's "
            f"accuracy no better than a guess ({numbers})."
        )
    if found.rho < 0:
        return (
            "Within generations, a smaller standard deviation of the teacher went with a more "
            f"accurate student, as Wang et al. predict ({numbers})."
        )
    return (
        "Within generations, a larger standard deviation of the teacher went with a more "
        f"accurate student, contrary to what Wang et al. predict ({numbers})."
    )


def predictor_figure(rows: Sequence[SearchRow]) -> Figure:
    """Draw accuracy over the teacher's standard deviation, a dot a training, by generation."""
    measured = [row for group in _groups(rows) for row in group]
    colours = colormaps["viridis"]
    with style():
        figure = Figure(figsize=(_WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        dots = axes.scatter(
            [row.teacher_stddev or 0.0 for row in measured],
            [100 * (row.accuracy or 0.0) for row in measured],
            c=[row.generation for row in measured],
            cmap=colours,
            s=16,
        )
        bar = figure.colorbar(dots, ax=axes, label="generation")
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("teacher's standard deviation")
        axes.set_ylabel("validation accuracy (%)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid()
    return figure


def _groups(rows: Sequence[SearchRow]) -> list[list[SearchRow]]:
    """Return the rows of each generation in which both numbers were measured."""
    groups: dict[int, list[SearchRow]] = defaultdict(list)
    for row in rows:
        if row.accuracy is not None and row.teacher_stddev is not None:
            groups[row.generation].append(row)
    return [groups[generation] for generation in sorted(groups)]


def _ranks(group: Sequence[SearchRow], name: str) -> Floats:
    """Return the centred ranks of an attribute; ties share theirs."""
    ranks: Floats = np.asarray(rankdata([getattr(row, name) for row in group]))
    centred: Floats = ranks - ranks.mean()
    return centred
