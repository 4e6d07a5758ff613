import pytest

from rolekd.fleet.snapshot import Snapshot, State, Trial
from rolekd.fleet.tasks import Slot
from rolekd.params import SearchParams
from rolekd.search.population import SearchResult, plan
from rolekd.search.spec import SearchSpec

SETTINGS = SearchParams(population=2, epochs=6, interval_epochs=2, confirm=None)
JOB = SearchSpec(0, "teacher", "fake", SETTINGS, {}, {}, {}, 6)
TASKS = plan(SETTINGS, 0, [])


def trial(number, task, state):
    result = SearchResult(task, number, 0.5, 10, 1.0, "state") if state is State.DONE else None
    return Trial(number, task, state, (), result)


def whole_search(generations):
    trials, history = [], []
    for _ in range(generations):
        tasks = plan(SETTINGS, 0, history)
        new = [trial(len(trials) + i, task, State.DONE) for i, task in enumerate(tasks)]
        trials += new
        history.append([each.result for each in new])
    return trials


@pytest.mark.parametrize("state", list(State))
def test_what_is_missing(state):
    snapshot = Snapshot(JOB, [trial(0, TASKS[0], state)])
    gone = state is State.LOST
    assert snapshot.missing(TASKS) == (TASKS if gone else TASKS[1:])


def test_the_one_that_is_alive_holds_the_slot():
    trials = [
        trial(5, TASKS[0], State.RUNNING),
        trial(2, TASKS[0], State.LOST),
        trial(3, TASKS[1], State.WAITING),
    ]
    snapshot = Snapshot(JOB, trials)
    assert snapshot.holders[Slot(0, 0)].number == 5
    assert [each.number for each in snapshot.waiting()] == [3]
    assert [each.number for each in snapshot.running()] == [5]


def test_history_holds_complete_generations_only():
    trials = whole_search(2)
    assert len(Snapshot(JOB, trials).history) == 2
    assert len(Snapshot(JOB, trials[:-1]).history) == 1
    assert not Snapshot(JOB, trials).finished
    assert Snapshot(JOB, whole_search(3)).finished
    assert Snapshot(JOB, trials).tasks_done == 4


def test_outgrown_are_all_but_the_last_complete_generation():
    trials = [
        *whole_search(3),
        trial(6, TASKS[0], State.LOST),
        trial(7, TASKS[1], State.LOST),
    ]
    snapshot = Snapshot(JOB, trials)
    assert [each.number for each in snapshot.outgrown(range(3))] == [0, 1, 2, 3, 6, 7]
    assert [each.number for each in snapshot.outgrown([1])] == [2, 3]
    assert Snapshot(JOB, whole_search(1)).outgrown(range(3)) == []
    # killed between storing its state and reporting it
    last = [*whole_search(1), trial(2, TASKS[0], State.LOST)]
    assert [each.number for each in Snapshot(JOB, last).outgrown(range(3))] == [2]
