import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekd.augment.ladder import policy
from rolekd.errors import HopelessError
from rolekd.fleet.tasks import Slot
from rolekd.params import SearchParams
from rolekd.search import lineage
from rolekd.search.explore import LARGEST, explore
from rolekd.search.population import IDLE_POLICY, SearchResult, exploit_pairs, plan, rank

accuracies = st.lists(
    st.none() | st.sampled_from([0.1, 0.2, 0.5, 0.9]), min_size=2, max_size=16
).filter(lambda values: any(value is not None for value in values))
policies = st.tuples(*[st.integers(0, largest) for largest in LARGEST])


def finished(tasks, values):
    return [
        SearchResult(task, i, a, 10, 1.0)
        for i, (task, a) in enumerate(zip(tasks, values, strict=True))
    ]


def first_generation(values, **settings):
    settings = SearchParams(population=len(values), epochs=6, interval_epochs=2, **settings)
    return settings, finished(plan(settings, 0, []), values)


def test_everything_begins_with_nothing():
    settings = SearchParams(population=3, epochs=5, interval_epochs=2)
    tasks = plan(settings, 0, [])
    assert [task.slot for task in tasks] == [Slot(0, member) for member in range(3)]
    assert all(task.policy == IDLE_POLICY and task.parent is None for task in tasks)
    assert settings.generations == 3


def test_the_last_generation_may_be_shorter():
    settings = SearchParams(population=2, epochs=5, interval_epochs=2)
    history = []
    for _ in range(settings.generations):
        history.append(finished(plan(settings, 0, history), [0.1, 0.2]))
    assert [(g[0].task.start_epoch, g[0].task.epochs) for g in history] == [(0, 2), (2, 2), (4, 1)]


def test_rank():
    _, results = first_generation([0.5, None, 0.9, 0.5, None, 0.0])
    assert [result.task.slot.member for result in rank(results)] == [2, 0, 3, 5, 1, 4]


@given(accuracies, st.integers(0, 5), st.sampled_from([0.1, 0.25, 0.5]))
def test_exploit(values, seed, quantile):
    settings, results = first_generation(values, quantile=quantile)
    ranked = [result.task.slot.member for result in rank(results)]
    count = max(1, int(len(values) * quantile))
    pairs = exploit_pairs(settings, seed, results)
    diverged = {member for member, value in enumerate(values) if value is None}
    assert set(pairs) == set(ranked[len(ranked) - count :]) | diverged
    assert set(pairs.values()) <= set(ranked[:count]) - diverged


def test_each_loser_copies_any_of_the_best():
    settings, results = first_generation([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    chosen = {exploit_pairs(settings, seed, results)[7] for seed in range(50)}
    assert chosen == {0, 1}


def test_none_left_to_copy():
    settings, results = first_generation([None, None])
    with pytest.raises(HopelessError, match="every member became NaN"):
        plan(settings, 0, [results])


@given(policies, st.integers(0, 2**32), st.sampled_from([0.0, 0.2, 1.0]), st.integers(1, 5))
def test_explore_stays_in_range_and_near(values, seed, resample, max_step):
    settings = SearchParams(
        population=2, epochs=2, interval_epochs=1, resample_probability=resample, max_step=max_step
    )
    moved = explore(settings, values, random.Random(seed))
    assert all(0 <= value <= largest for value, largest in zip(moved, LARGEST, strict=True))
    if resample == 0.0:
        assert all(abs(new - old) <= max_step for new, old in zip(moved, values, strict=True))


def test_explore_has_the_stated_frequencies():
    # From the middle, 5, a step is -3..3 with probabilities 1/8, 1/8, 1/8, 1/4 (no step), ...
    settings = SearchParams(population=2, epochs=2, interval_epochs=1)
    stream = random.Random(1)
    values = [v for _ in range(2000) for v in explore(settings, (5,) * 60, stream)[::2]]
    share = {value: values.count(value) / len(values) for value in range(11)}
    uniform = 0.2 / 11
    for value in (0, 1, 9, 10):
        assert share[value] == pytest.approx(uniform, abs=0.003)
    for value in (2, 3, 4, 6, 7, 8):
        assert share[value] == pytest.approx(uniform + 0.8 / 8, abs=0.006)
    assert share[5] == pytest.approx(uniform + 0.8 / 4, abs=0.008)


@given(accuracies, st.integers(0, 3))
def test_the_plan_is_a_pure_function_of_results(values, seed):
    settings, results = first_generation(values)
    tasks = plan(settings, seed, [results])
    other_run = [
        dataclasses.replace(result, trial=result.trial + 50, seconds=9.0) for result in results
    ]
    assert plan(settings, seed, [list(reversed(other_run))]) == tasks
    sources = exploit_pairs(settings, seed, results)
    for member, task in enumerate(tasks):
        assert task.slot == Slot(1, member)
        assert task.parent == Slot(0, sources.get(member, member))
        if member not in sources:
            assert task.policy == IDLE_POLICY


def test_members_may_begin_with_the_ladder():
    settings = SearchParams(
        population=4, epochs=4, interval_epochs=2, start="ladder", ladder=("all-2", "all-5")
    )
    found = [task.policy for task in plan(settings, 0, [])]
    assert found[:3] == [IDLE_POLICY, policy("all-2").values, policy("all-5").values]
    assert found[3] == IDLE_POLICY


def test_a_restart_has_fresh_weights_the_old_policies_and_a_longer_interval():
    settings = SearchParams(population=2, epochs=6, interval_epochs=2, restarts=2)
    assert settings.rounds == [(2, 3), (4, 2), (6, 1)]
    assert settings.generations == 6
    history = []
    for _ in range(settings.generations):
        history.append(finished(plan(settings, 0, history), [0.2, 0.1]))
    tasks = [generation[0].task for generation in history]
    assert [(task.start_epoch, task.epochs) for task in tasks] == [
        (0, 2), (2, 2), (4, 2), (0, 4), (4, 2), (0, 6),
    ]  # fmt: skip
    assert [task.parent for task in tasks] == [
        None, Slot(0, 0), Slot(1, 0), None, Slot(3, 0), None,
    ]  # fmt: skip
    assert tasks[3].policy == tasks[2].policy  # the best continues with its own
    assert history[3][1].task.policy != history[2][1].task.policy  # the worst explores
    history[-1] = finished(plan(settings, 0, history[:-1]), [0.1, 0.9])
    # the last round's member was trained from fresh: its line is the whole schedule
    assert [result.task.slot for result in lineage.trace(history)] == [Slot(5, 1)]
