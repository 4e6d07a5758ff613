import pytest

from rolekd.errors import InputError
from rolekd.params import SearchParams
from rolekd.search.constant import ConstantPlanner
from rolekd.search.explore import LARGEST
from rolekd.search.planner import OptunaAdvisor
from rolekd.search.population import SearchResult
from rolekd.search.runner import run


class Script:
    """Proposes number after number; stops those that `stops` names, at an age."""

    def __init__(self, stops=()):
        self.stops, self.asked, self.ends = dict(stops), 0, {}

    def propose(self):
        self.asked += 1
        return self.asked - 1, (self.asked - 1,) * 60

    def report(self, number, age, accuracy):
        assert accuracy is not None
        return self.stops.get(number) == age

    def end(self, number, accuracy, stopped):
        self.ends[number] = (accuracy, stopped)


def half(_task):
    return 0.5


def play(planner, accuracy=half):
    history = []
    while tasks := planner(history):
        history.append([SearchResult(t, 0, accuracy(t), 10, 1.0) for t in tasks])
    return history


@pytest.fixture
def settings():
    return SearchParams(
        population=8, epochs=6, interval_epochs=2, algorithm="tpe", confirm=None
    )  # 2 lanes of 12


def lanes(history):
    return [
        [task.policy[0] for task in (r.task for g in history for r in g) if task.slot.member == m]
        for m in (0, 1)
    ]


def test_whole_candidates_fill_the_budget(settings):
    script = Script()
    history = play(ConstantPlanner(settings, script))
    assert lanes(history) == [
        [0] * 3 + [2] * 3 + [4] * 3 + [6] * 3,
        [1] * 3 + [3] * 3 + [5] * 3 + [7] * 3,
    ]
    assert sum(map(len, history)) == settings.tasks == 8 * 3
    assert script.ends == dict.fromkeys(range(8), (0.5, False))


def test_epochs_and_parents_of_a_candidate(settings):
    history = play(ConstantPlanner(settings, Script()))
    tasks = [generation[1].task for generation in history[:4]]
    assert [(t.start_epoch, t.epochs) for t in tasks] == [(0, 2), (2, 2), (4, 2), (0, 2)]
    assert [t.parent and t.parent.generation for t in tasks] == [None, 0, 1, None]


def test_a_stopped_candidate_makes_room(settings):
    script = Script(stops={0: 1, 2: 2})
    history = play(ConstantPlanner(settings, script))
    assert lanes(history)[0] == [0] + [2] * 2 + [3] * 3 + [5] * 3 + [7] * 3
    assert script.ends[0] == (0.5, True)


def test_what_could_not_end_is_not_begun_and_what_frees_nothing_is_not_stopped(settings):
    script = Script(stops={0: 1, 7: 1})
    history = play(ConstantPlanner(settings, script))
    # lane 0 ends with generation 10 of 12, lane 1 with the last
    assert lanes(history)[0] == [0] + [2] * 3 + [4] * 3 + [6] * 3
    assert [len(generation) for generation in history[-2:]] == [1, 1]
    assert script.ends[7] == (0.5, False)


def test_a_diverged_candidate_ends(settings):
    script = Script()
    history = play(ConstantPlanner(settings, script), lambda t: None if t.policy[0] == 1 else 0.5)
    assert lanes(history)[1][:4] == [1, 2, 2, 2]
    assert script.ends[1] == (None, False)


@pytest.mark.parametrize("algorithm", ["random", "tpe", "cmaes"])
@pytest.mark.parametrize("pruner", ["none", "median", "hyperband"])
def test_optuna_advises_the_same_twice(algorithm, pruner):
    if algorithm == "cmaes":
        pytest.importorskip("cmaes", reason="the package cmaes is not installed")
    settings = SearchParams(
        population=16, epochs=8, interval_epochs=2, algorithm=algorithm, pruner=pruner
    )

    def accuracy(task):
        return 1.0 - sum(task.policy) / 1000 + task.start_epoch / 100

    first, again, other = (
        play(ConstantPlanner(settings, OptunaAdvisor(settings, seed)), accuracy)
        for seed in (1, 1, 2)
    )
    assert first == again != other
    policies = {r.task.policy for generation in first for r in generation}
    assert all(0 <= v <= top for p in policies for v, top in zip(p, LARGEST, strict=True))
    assert len(policies) >= 16 if pruner == "none" else len(policies) > 16
    assert sum(map(len, first)) <= settings.tasks


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_the_runner_runs_them(trainers, inputs, make_spec, digest, tmp_path, algorithm):
    spec = make_spec(population=8, epochs=6, algorithm=algorithm)
    found = [run(spec, inputs, tmp_path / str(n), workers=n) for n in (1, 2)]
    assert digest(found[0]) == digest(found[1])
    assert len(found[0].schedule.segments) == 1
    assert found[0].schedule.epochs == 6
    whole = [r for g in found[0].history for r in g if r.task.start_epoch + r.task.epochs == 6]
    assert found[0].line[-1].accuracy == max(result.accuracy for result in whole)
    budget = 8 * 6 * 100
    assert sum(r.images_seen for g in found[0].history for r in g) <= budget


def test_a_missing_package_is_named(trainers, inputs, make_spec, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cmaes", None)
    with pytest.raises(InputError, match=r"search\.algorithm: cmaes needs a package"):
        run(make_spec(algorithm="cmaes"), inputs, tmp_path)
