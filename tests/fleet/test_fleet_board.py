import pytest

from rolekd.fleet.board import Board, Entry, State
from rolekd.fleet.tasks import Slot
from rolekd.params import SearchParams
from rolekd.search.population import Result, plan
from rolekd.search.spec import SearchSpec

SETTINGS = SearchParams(population=2, epochs=6, interval_epochs=2, confirm=None)
JOB = SearchSpec(0, "teacher", "fake", SETTINGS, {}, {}, {}, 6)
TASKS = plan(SETTINGS, 0, [])


def entry(number, task, state):
    result = Result(task, number, 0.5, 10, 1.0, "state") if state is State.DONE else None
    return Entry(number, task, state, (), result)


def whole_search(generations):
    entries, history = [], []
    for _ in range(generations):
        tasks = plan(SETTINGS, 0, history)
        new = [entry(len(entries) + i, task, State.DONE) for i, task in enumerate(tasks)]
        entries += new
        history.append([each.result for each in new])
    return entries


@pytest.mark.parametrize("state", list(State))
def test_what_is_missing(state):
    board = Board(JOB, [entry(0, TASKS[0], state)])
    gone = state is State.LOST
    assert board.missing(TASKS) == (TASKS if gone else TASKS[1:])


def test_the_one_that_is_alive_holds_the_slot():
    entries = [
        entry(5, TASKS[0], State.RUNNING),
        entry(2, TASKS[0], State.LOST),
        entry(3, TASKS[1], State.WAITING),
    ]
    board = Board(JOB, entries)
    assert board.holders[Slot(0, 0)].number == 5
    assert [each.number for each in board.waiting()] == [3]
    assert [each.number for each in board.running()] == [5]


def test_history_holds_complete_generations_only():
    entries = whole_search(2)
    assert len(Board(JOB, entries).history) == 2
    assert len(Board(JOB, entries[:-1]).history) == 1
    assert not Board(JOB, entries).finished
    assert Board(JOB, whole_search(3)).finished
    assert Board(JOB, entries).slots_done == 4


def test_outgrown_are_all_but_the_last_complete_generation():
    entries = [
        *whole_search(3),
        entry(6, TASKS[0], State.LOST),
        entry(7, TASKS[1], State.LOST),
    ]
    board = Board(JOB, entries)
    assert [each.number for each in board.outgrown(range(3))] == [0, 1, 2, 3, 6, 7]
    assert [each.number for each in board.outgrown([1])] == [2, 3]
    assert Board(JOB, whole_search(1)).outgrown(range(3)) == []
    # killed between storing its state and telling so
    last = [*whole_search(1), entry(2, TASKS[0], State.LOST)]
    assert [each.number for each in Board(JOB, last).outgrown(range(3))] == [2]
