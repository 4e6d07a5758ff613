import pytest

from rolekd.errors import HopelessError
from rolekd.fleet.tasks import Slot
from rolekd.search import lineage
from rolekd.search.population import IDLE_POLICY, SearchResult, SearchTask

ONE, TWO, THREE = ((value,) * 60 for value in (1, 2, 3))


def slot(generation, member, parent, policy, accuracy):
    parent = None if parent is None else Slot(generation - 1, parent)
    task = SearchTask(Slot(generation, member), parent, 2, policy, 3 * generation, 3)
    return SearchResult(task, 0, accuracy, 10, 1.0)


HISTORY = [
    [slot(0, 0, None, IDLE_POLICY, 0.9), slot(0, 1, None, ONE, 0.5)],
    [slot(1, 0, 0, IDLE_POLICY, 0.2), slot(1, 1, 1, ONE, 0.6)],
    [slot(2, 0, 1, TWO, 0.8), slot(2, 1, 1, ONE, 0.6)],
    [slot(3, 0, 0, TWO, 0.85), slot(3, 1, 0, THREE, 0.85)],
]


def test_the_winner_is_the_best_of_the_last_generation():
    assert lineage.winner(HISTORY).task.slot == Slot(3, 0)  # the draw goes to the lower number
    assert lineage.winner(HISTORY[:1]).accuracy == 0.9


def test_the_line_goes_through_the_copies():
    line = lineage.trace(HISTORY)
    assert [result.task.slot.member for result in line] == [1, 1, 0, 0]


def test_the_schedule_is_what_the_winner_was_trained_with():
    schedule = lineage.to_schedule(lineage.trace(HISTORY), 12)
    assert [(start, policy.values) for start, policy in schedule.segments] == [(0, ONE), (6, TWO)]
    assert schedule.epochs == 12
    for result in lineage.trace(HISTORY):
        for epoch in range(result.task.start_epoch, result.task.start_epoch + 3):
            assert schedule.policy_at(epoch).values == result.task.policy


def test_no_winner_among_the_diverged():
    history = [[slot(0, 0, None, IDLE_POLICY, None), slot(0, 1, None, IDLE_POLICY, 0.1)]]
    assert lineage.winner(history).task.slot.member == 1
    with pytest.raises(HopelessError, match="every member became NaN"):
        lineage.winner([history[0][:1]])
