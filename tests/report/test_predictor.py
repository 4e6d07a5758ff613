"""The predictor of Wang et al. against accuracy: an oracle, the confounder, and what is said."""

import numpy as np
import pytest
from scipy import stats

from rolekd.report import predictor
from rolekd.report.histories import SearchRow

GENERATIONS, MEMBERS = 8, 12


def search_rows(slope: float, growth: float = 0.02, seed: int = 0) -> list[SearchRow]:
    """A search whose accuracy grows by generation and by `slope` with the predictor inside one.

    The predictor grows by generation too, so that the raw correlation is positive.
    """
    generator = np.random.default_rng(seed)
    made = []
    for generation in range(GENERATIONS):
        for member in range(MEMBERS):
            x, noise = generator.normal(size=2)
            made.append(
                SearchRow(
                    generation,
                    member,
                    None,
                    3 * generation + 3,
                    0.5 + growth * generation + 0.004 * (slope * x + noise),
                    in_lineage=False,
                    teacher_stddev=0.05 + 0.01 * generation + 0.001 * x,
                )
            )
    return made


def test_one_generation_is_scipys_spearman():
    one = [row for row in search_rows(slope=-1.0) if row.generation == 3]
    found = predictor.correlate(one)
    expected = stats.spearmanr([s.teacher_stddev for s in one], [s.accuracy for s in one])
    assert found.rho == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)
    assert (found.trainings, found.generations) == (MEMBERS, 1)


def test_growth_over_the_generations_does_not_count():
    search = search_rows(slope=-2.0)
    raw = stats.spearmanr([s.teacher_stddev for s in search], [s.accuracy for s in search])
    assert raw.statistic > 0.5
    found = predictor.correlate(search)
    assert found.rho < -0.5
    assert found.p_value < 0.001
    grown = predictor.correlate(search_rows(slope=-2.0, growth=0.2))
    assert grown == found


@pytest.mark.parametrize(
    ("slope", "said"),
    [(-3.0, "as Wang et al. predict"), (3.0, "contrary to what"), (0.0, "no better than a guess")],
)
def test_the_sentence_reports_either_way(slope, said):
    assert said in predictor.sentence(predictor.correlate(search_rows(slope, seed=1)))


def test_chance_is_called_chance():
    values = [predictor.correlate(search_rows(0.0, seed=seed)).p_value for seed in range(40)]
    assert np.mean(np.array(values) < 0.05) <= 0.15
    assert 0.3 < np.mean(values) < 0.7


def test_where_nothing_was_measured_nothing_is_said():
    search = search_rows(1.0)
    blank = [SearchRow(s.generation, s.member, None, s.epoch, s.accuracy, False) for s in search]
    assert predictor.correlate(blank) is None
    assert predictor.correlate([]) is None
    same = [SearchRow(0, m, None, 3, 0.5, False, 0.1) for m in range(5)]
    assert predictor.correlate(same) is None
    diverged = [SearchRow(0, 0, None, 3, None, False, 0.1), *search]
    assert predictor.correlate(diverged) == predictor.correlate(search)
