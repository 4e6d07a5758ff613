"""The final: candidates in pairs with none, rung by rung; in doubt none stands."""

import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekd.augment import ladder
from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.errors import RunError
from rolekd.fleet.tasks import Slot
from rolekd.params import SearchParams
from rolekd.search import final, history
from rolekd.search.population import IDLE_POLICY, Candidate, SearchResult, SearchTask

LADDER = ("all-2", "all-5", "geometry-3")
EPOCHS = 7


def _settings(rungs=((6, 2), (3, 4), (2, 6)), **options):
    confirm = {"rungs": rungs, **options}
    values = {"algorithm": "ladder", "ladder": LADDER, "confirm": confirm, "epochs": 4}
    return SearchParams.model_validate(values)


def _play(settings, entered, accuracy):
    """Run a final whose trainings give accuracy(name, seed)."""
    rungs = []
    while tasks := final.plan(settings, entered, rungs, 5 + len(rungs), EPOCHS):
        rungs.append(
            [
                SearchResult(task, 0, accuracy(task.candidate.name, task.seed), 10, 1.0)
                for task in tasks
            ]
        )
    return rungs


def _names(rung):
    return list(dict.fromkeys(result.task.candidate.name for result in rung))


def test_none_is_always_a_candidate_and_what_does_the_same_is_trained_once():
    given_ones = {
        "teacher-schedule": Schedule.constant(ladder.policy("all-5"), 9).to_json(),
        "idle": Schedule.constant(Policy((0, 3) * 30), 4).to_json(),
    }
    found = final.candidates(_settings(), given_ones, [])
    assert [candidate.name for candidate in found] == [
        "none", "teacher-schedule", "all-2", "all-5", "geometry-3",
    ]  # fmt: skip
    stretched = Schedule.constant(ladder.policy("all-5"), 4).to_json()
    found = final.candidates(_settings(), {"teacher-schedule": stretched}, [])
    assert [one.name for one in found] == ["none", "teacher-schedule", "all-2", "geometry-3"]


@pytest.mark.parametrize(
    ("schedule", "rung"),
    [
        (Schedule.constant(ladder.policy("all-5"), 9), "all-5"),
        (Schedule(6, [(0, ladder.policy("all-5")), (4, ladder.policy("all-5"))]), "all-5"),
        (Schedule(6, [(0, ladder.policy("all-5")), (4, ladder.policy("all-6"))]), None),
        (Schedule.constant(Policy((0, 3) * 30), 4), None),
        (Schedule.constant(Policy((1, 3) * 30), 4), None),
    ],
)
def test_a_rung_is_known_by_what_it_does(schedule, rung):
    assert final.on_ladder(schedule) == rung


def test_the_rows_of_a_final_name_the_rung_whatever_its_name():
    settings = _settings()
    own = {"teacher-schedule": Schedule.constant(ladder.policy("all-5"), 4).to_json()}
    rungs = _play(settings, final.candidates(settings, own, []), lambda *_: 0.5)
    found = history.Found(settings, rungs, [], final.verdict(settings, rungs))
    assert {row["candidate"]: row["ladder"] for row in history.final(found)} == {
        "none": None, "teacher-schedule": "all-5", "all-2": "all-2", "geometry-3": "geometry-3",
    }  # fmt: skip


def test_no_two_rungs_do_the_same():
    names = [f"{family}-{s}" for family in ladder.FAMILIES for s in range(1, ladder.HIGHEST + 1)]
    found = [final.on_ladder(Schedule.constant(ladder.policy(name), 1)) for name in names]
    assert found == names


def test_the_best_of_the_algorithm_are_candidates():
    settings = SearchParams.model_validate(
        {
            "algorithm": "pbt", "epochs": 4, "interval_epochs": 4, "proposals": 2,
            "ladder": ["all-2"], "confirm": {"rungs": [[5, 2]]},
        }
    )  # fmt: skip
    policies = [IDLE_POLICY, (1,) * 60, (1,) * 60, (2,) * 60]
    accuracies = [0.5, 0.8, 0.7, 0.6]
    last = [
        SearchResult(SearchTask(Slot(0, member), None, 4, policy, 0, 4), 0, accuracy, 10, 1.0)
        for member, (policy, accuracy) in enumerate(zip(policies, accuracies, strict=True))
    ]
    found = final.candidates(settings, {}, [last])
    assert [candidate.name for candidate in found] == ["none", "pbt-1", "pbt-2", "all-2"]
    assert found[1].schedule.segments[0][1].values == policies[1]
    assert found[2].schedule.segments[0][1].values == policies[3]  # the same twice is one


def test_each_rung_gives_more_seeds_to_fewer():
    settings = _settings(decided=None)
    entered = final.candidates(settings, {}, [])
    better = {"none": 0, "all-2": 0.02, "all-5": -0.1, "geometry-3": 0.01}
    rungs = _play(settings, entered, lambda name, seed: 0.5 + better[name] + 0.01 * seed)
    assert [_names(rung) for rung in rungs] == [
        ["none", "all-2", "all-5", "geometry-3"], ["none", "all-2", "geometry-3"],
        ["none", "all-2"],
    ]  # fmt: skip
    assert [sorted({result.task.seed for result in rung}) for rung in rungs] == [
        [0, 1], [2, 3], [4, 5],
    ]  # fmt: skip
    slots = [result.task.slot for rung in rungs for result in rung]
    assert [slot.generation for slot in slots] == [5] * 8 + [6] * 6 + [7] * 4
    assert all(
        result.task.generation_size == len(rung) and result.task.epochs == EPOCHS
        for rung in rungs
        for result in rung
    )
    found = final.verdict(settings, rungs)
    assert found.winner is found.best
    assert found.winner.name == "all-2"
    assert found.winner.gain == pytest.approx(0.02)
    assert len(found.winner.accuracies) == 6
    assert [one.name for one in found.standings][:2] == ["all-2", "none"]


@pytest.mark.parametrize(
    ("gain", "spread", "decided", "rungs"),
    [
        (0.03, 0.01, 3.0, 2),  # clear after four seeds
        (0.03, 0.01, None, 3),
        (0.01, 0.02, 3.0, 3),  # not clear
        (-0.03, 0.01, 3.0, 3),  # harm ends nothing
    ],
)
def test_a_clear_gain_ends_the_final(gain, spread, decided, rungs):
    settings = _settings(decided=decided)
    entered = final.candidates(settings, {}, [])

    def accuracy(name, seed):
        return 0.5 + (name != "none") * (gain + spread * (-1) ** seed)

    played = _play(settings, entered, accuracy)
    assert len(played) == rungs
    assert final.over(settings, played)
    assert not any(final.over(settings, played[:count]) for count in range(rungs))
    assert (final.verdict(settings, played).winner.name == "none") == (gain < 0)


def test_two_seeds_decide_nothing():
    settings = _settings()
    entered = final.candidates(settings, {}, [])
    played = _play(settings, entered, lambda name, _: 0.5 + 0.1 * (name != "none"))
    assert len(played) == 2  # equal gains have no spread at all; four seeds of them are enough


@given(
    gains=st.lists(st.floats(-0.05, 0.05), min_size=6, max_size=6),
    bound=st.sampled_from([0.0, 1.0, 2.0]),
)
def test_none_stands_unless_the_mean_is_above_its_error(gains, bound):
    settings = _settings(rungs=((6, 6),), standard_errors=bound)
    entered = [Candidate(name, Schedule.constant(Policy.zeros(), 4)) for name in ("none", "other")]
    rungs = _play(settings, entered, lambda name, seed: 0.5 + (name != "none") * gains[seed])
    found = final.verdict(settings, rungs)
    mean = statistics.fmean(found.best.differences)
    error = statistics.stdev(found.best.differences) / 6**0.5
    assert (found.winner.name == "other") == (mean > max(0.0, bound * error) + 1e-9)
    assert found.best.gain == pytest.approx(mean)
    assert found.best.error == pytest.approx(error)


def test_a_gain_that_equals_its_error_is_not_above_it():
    settings = _settings(rungs=((6, 2),))
    entered = [Candidate(name, Schedule.constant(Policy.zeros(), 4)) for name in ("none", "other")]
    for images in range(1, 200):  # of two pairs one is equal
        rungs = _play(
            settings, entered, lambda name, seed, n=images: 0.5 + (name != "none") * seed / n
        )
        assert final.verdict(settings, rungs).winner.name == "none"


def test_a_training_that_diverged_is_as_bad_as_can_be():
    settings = _settings(rungs=((6, 2),))
    entered = final.candidates(settings, {}, [])
    rungs = _play(settings, entered, lambda name, _: None if name == "all-5" else 0.5)
    found = final.verdict(settings, rungs)
    assert found.winner.name == "none"
    assert found.standings[-1].name == "all-5"
    assert found.standings[-1].gain == pytest.approx(-0.5)


def test_where_no_candidate_acts_none_is_alone_and_stands():
    settings = SearchParams.model_validate(
        # PBT can propose what does nothing, too
        {"algorithm": "pbt", "ladder": [], "epochs": 4, "confirm": {"rungs": [[3, 1], [2, 2]]}}
    )
    entered = final.candidates(settings, {}, [])
    assert [candidate.name for candidate in entered] == ["none"]
    found = final.verdict(settings, _play(settings, entered, lambda *_: 0.5))
    assert found.winner.name == found.best.name == "none"
    assert found.best.error == math.inf
    assert found.schedule.segments[0][1] == Policy.zeros()


def test_a_final_in_which_everything_diverged_is_an_error():
    settings = _settings(rungs=((6, 2),))
    rungs = _play(settings, final.candidates(settings, {}, []), lambda *_: None)
    with pytest.raises(RunError, match="every training of the final became NaN"):
        final.verdict(settings, rungs)


def test_log_loss_decides_where_all_trainings_tell_it():
    settings = _settings(rungs=((6, 2),), measure="log_loss")
    entered = [Candidate(name, Schedule.constant(Policy.zeros(), 4)) for name in ("none", "other")]

    def play(**extras):
        rungs = _play(settings, entered, lambda name, seed: 0.5 + 0.01 * (name == "none") * seed)
        return [
            [
                replace(result, extras={"log_loss": extras[result.task.candidate.name]})
                if result.task.candidate.name in extras
                else result
                for result in rung
            ]
            for rung in rungs
        ]

    found = final.verdict(settings, play(none=0.7, other=0.6))
    assert found.winner.name == "other"
    assert found.winner.gain == pytest.approx(0.1)
    assert found.winner.accuracy_gain == pytest.approx(-0.005)
    assert "nats of log loss" in found.winner.evidence
    # a trainer from elsewhere that tells it of some, or of none
    for extras in ({}, {"other": 0.1}):
        found = final.verdict(settings, play(**extras))
        assert found.winner.name == "none"
        assert found.best.measure == "accuracy"
