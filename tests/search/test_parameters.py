import logging
import math
import statistics

import optuna
import pytest
from optuna.trial import TrialState
from optuna.visualization import (
    plot_parallel_coordinate,
    plot_param_importances,
    plot_slice,
)

from rolekd.augment import ladder
from rolekd.augment.policy import COPIES, OPERATIONS, Policy
from rolekd.augment.schedule import Schedule
from rolekd.fleet.tasks import Slot
from rolekd.search.parameters import gain, note, policy_params, summary_params
from rolekd.search.population import Candidate, SearchTask
from rolekd.search.runner import run

FINAL = {"proposals": 2, "ladder": ["all-2", "all-6"], "confirm": {"rungs": [[6, 2], [2, 4]]}}
SHOWN = tuple(summary_params(Policy.zeros()))  # names of what a trial shows of a policy


def _policy(**pairs):
    """Return a policy of (probability, magnitude) of each copy of the named operations."""
    return Policy(
        value
        for copy in range(COPIES)
        for operation in OPERATIONS
        for value in pairs.get(operation, [(0, 0), (0, 0)])[copy]
    )


@pytest.mark.parametrize(
    ("copies", "probability", "magnitude"),
    [
        ([(10, 3), (10, 6)], 1.0, 4.5),
        ([(3, 9), (0, 1)], 0.15, 9.0),  # a copy that never acts says nothing
        ([(1, 9), (3, 1)], 0.2, 3.0),
        ([(0, 2), (0, 4)], 0.0, 0.0),
    ],
)
def test_two_copies_are_shown_as_one(copies, probability, magnitude):
    found = summary_params(_policy(Rotate=copies))
    assert found["Rotate.probability"] == pytest.approx(probability)
    assert found["Rotate.magnitude"] == pytest.approx(magnitude)
    assert found["ShearX.probability"] == found["ShearX.magnitude"] == 0


@pytest.mark.parametrize("operation", ["Brightness", "Color", "Contrast", "Sharpness"])
def test_of_blends_the_distance_from_the_identity_is_shown(operation):
    assert summary_params(_policy(**{operation: [(5, 9), (5, 1)]}))[f"{operation}.magnitude"] == 4
    assert summary_params(_policy(**{operation: [(5, 5), (5, 5)]}))[f"{operation}.magnitude"] == 0
    shown = [summary_params(ladder.policy(f"all-{s}"))[f"{operation}.magnitude"] for s in range(11)]
    assert shown == sorted(shown)
    assert shown[10] > shown[1]


@pytest.fixture(scope="module")
def spec(make_spec):
    return make_spec(population=6, epochs=8, search=FINAL, diverge=[[2, 1]])


@pytest.fixture(scope="module")
def study(tmp_path_factory, site, inputs, spec):
    """The study of a small search that three workers brought to its end."""
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        run(spec, inputs, folder, workers=3)
    return optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db")


def _done(study, stage):
    done = study.get_trials(states=[TrialState.COMPLETE])
    return [trial for trial in done if trial.user_attrs["stage"] == stage]


def test_a_trial_has_the_parameters_of_its_policy(study, spec):
    for trial in study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED]):
        wanted = summary_params(Policy(trial.user_attrs["policy"]))
        assert {name: trial.params[name] for name in SHOWN} == wanted
        assert trial.params.keys() - {"strength"} == set(SHOWN)
    assert len(SHOWN) == 2 * len(OPERATIONS) == 30
    slots = spec.search.population * spec.search.generations
    assert len(_done(study, "propose")) == slots - 1  # one diverged
    strengths = {
        (trial.user_attrs["candidate"], trial.params.get("strength"))
        for trial in _done(study, "confirm")
    }
    assert strengths == {("none", 0), ("all-2", 2), ("all-6", 6), ("pbt-1", None), ("pbt-2", None)}


def test_a_rung_under_another_name_has_its_strength():
    def shown(schedule):
        candidate = Candidate("teacher-schedule", schedule)
        policy = tuple(schedule.segments[-1][1])
        task = SearchTask(Slot(3, 0), None, 1, policy, 0, 4, candidate)
        return {name: value for name, value, _ in policy_params(task)}

    assert shown(Schedule.constant(ladder.policy("all-6"), 4))["strength"] == 6
    grown = Schedule(4, [(0, ladder.policy("all-2")), (2, ladder.policy("all-6"))])
    assert "strength" not in shown(grown)


def test_nothing_is_pruned_but_what_diverged_and_no_slot_is_there_twice(study):
    pruned = study.get_trials(states=[TrialState.PRUNED])
    slots = [(t.user_attrs["generation"], t.user_attrs["member"]) for t in study.trials]
    assert [(t.user_attrs["generation"], t.user_attrs["member"]) for t in pruned] == [(2, 1)]
    assert len(set(slots)) == len(slots)


def test_gain_is_over_the_parent_and_among_equals(study):
    trials = _done(study, "propose")
    values = {(t.user_attrs["generation"], t.user_attrs["member"]): t.value for t in trials}
    own = {
        trial.number: trial.value - values[tuple(trial.user_attrs["parent"])]
        for trial in trials
        if trial.user_attrs["parent"] is not None
    }
    assert len(own) == 6 * 3 - 1
    for trial in trials:
        assert trial.user_attrs.get("gain") == pytest.approx(own.get(trial.number), abs=1e-6)
    target = gain(study)
    generations = {}
    for trial in trials:
        generations.setdefault(trial.user_attrs["generation"], []).append(trial)
    for number, peers in generations.items():
        wanted = [own[trial.number] if number else trial.value for trial in peers]
        mean = statistics.fmean(wanted)
        found = [target(trial) for trial in peers]
        assert found == pytest.approx([value - mean for value in wanted], abs=2e-6)
    assert all(math.isnan(target(trial)) for trial in _done(study, "confirm"))


def test_gain_in_the_final_is_over_none_with_the_same_seed(study):
    target = gain(study, "confirm")
    trials = _done(study, "confirm")
    none = {t.user_attrs["seed"]: t.value for t in trials if t.user_attrs["candidate"] == "none"}
    for trial in trials:
        assert target(trial) == pytest.approx(trial.value - none[trial.user_attrs["seed"]])
    assert all(math.isnan(target(trial)) for trial in _done(study, "propose"))


def test_the_gain_of_a_constant_policy_is_among_those_of_its_age(
    trainers, inputs, make_spec, tmp_path
):
    spec = make_spec(population=8, epochs=4, algorithm="random")
    run(spec, inputs, tmp_path)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/study.db")
    target, trials = gain(study), _done(study, "propose")
    for ages in ([0, 2], [2, 4]):
        peers = [trial for trial in trials if trial.user_attrs["epochs"] == ages]
        mean = statistics.fmean(trial.value for trial in peers)
        assert [target(trial) + mean for trial in peers] == pytest.approx(
            [trial.value for trial in peers]
        )


@pytest.mark.filterwarnings("ignore:PedAnovaImportanceEvaluator computes")
def test_optuna_draws_it(study):
    optuna.logging.set_verbosity(logging.ERROR)  # it names each trial that it leaves out
    target = gain(study)
    bars = plot_param_importances(
        study, params=list(SHOWN), target=lambda trial: -target(trial), target_name="gain"
    ).data[0]
    assert set(bars.y) == set(SHOWN)
    assert sum(bars.x) == pytest.approx(1)
    names = ["Rotate.probability", "Rotate.magnitude"]
    slices = plot_slice(study, params=names, target=target, target_name="gain")
    assert [axis.title.text for axis in (slices.layout.xaxis, slices.layout.xaxis2)] == sorted(
        names
    )
    assert len(slices.data[0].x) == len(_done(study, "propose"))
    lines = plot_parallel_coordinate(study, params=names, target=target, target_name="gain")
    assert set(lines.layout.xaxis.ticktext) == {"gain", *names}
    final = gain(study, "confirm")
    strengths = plot_slice(study, params=["strength"], target=final, target_name="gain")
    assert set(strengths.data[0].x) == {0, 2, 6}


def test_the_dashboard_shows_how_to_read_it(study, spec):
    from optuna_dashboard import get_note, save_note

    shown = get_note(study)
    assert shown.endswith(note(spec.name))
    assert f'study_name="{spec.name}"' in shown
    assert shown.startswith("**States.**")
    save_note(study, "my own")  # as one who edits it there
    assert get_note(study) == "my own"
