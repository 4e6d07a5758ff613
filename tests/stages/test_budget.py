"""The budget of a search is what its trainings see: counted by hand, and by a search."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from rolekd.data import dataset as datasets
from rolekd.params import SearchParams, parse
from rolekd.search import runner
from rolekd.search.constant import ConstantPlanner
from rolekd.search.member import DATA, make_spec
from rolekd.search.population import SearchResult
from rolekd.sources import splits
from rolekd.stages.budget import Budget, budget_of

SPLITS = {"search_train": np.arange(70), "search_val": np.arange(70, 100)}
IMAGES = datasets.assemble(
    "counted", np.zeros((100, 2, 2, 1), np.uint8), np.arange(100) % 2, ("a", "b"),
    SPLITS | {"train": np.arange(100), "test": np.arange(0)},
)  # fmt: skip


def _params(search=None, epochs=10):
    training = {"training": {"epochs": epochs}}
    search = {
        "population": 3,
        "epochs": 4,
        "interval_epochs": 2,
        "ladder": ["all-1"],
        "confirm": {"rungs": [[4, 2], [2, 3]], "validation_fraction": 0.4},
        **(search or {}),
    }
    return parse(
        {
            "search": search,
            "teacher": {**training, "model": {"width": 2}},
            "student": training,
            "compare": {"export": "kd-rolewise"},
        },
        "the test",
    )


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        # 4 candidates with 2 seeds, 2 with one more, on 60 images, 10 epochs
        ({}, Budget(3 * 4 * 70, 10 * 60 * 10)),
        ({"restarts": 2}, Budget(3 * 3 * 4 * 70, 10 * 60 * 10)),
        ({"algorithm": "tpe"}, Budget(3 * 4 * 70, 10 * 60 * 10)),
        ({"algorithm": "ladder"}, Budget(0, 10 * 60 * 10)),
        ({"confirm": None}, Budget(3 * 4 * 70, 0)),
        ({"teacher_by": "student"}, Budget(3 * 4 * 70, 10 * 60 * 10, 10 * 60 * 10)),
    ],
)
def test_it_counts_the_algorithm_and_the_final(search, expected):
    found = budget_of(_params(search), "teacher", IMAGES)
    assert found == expected
    assert found.images == expected.proposed + expected.confirmed + expected.taught


@pytest.mark.parametrize("interval", [1, 3, 15, 19, 20])
def test_where_candidates_end_early_others_begin_within_the_budget(interval):
    settings = SearchParams(
        algorithm="random", pruner="hyperband", population=4, epochs=20, interval_epochs=interval,
        confirm=None,
    )  # fmt: skip

    numbers = itertools.count()
    stops_each = SimpleNamespace(
        propose=lambda: (next(numbers), (0,) * 60),
        report=lambda *_: True,
        end=lambda *_, **__: None,
    )
    planner, history = ConstantPlanner(settings, stops_each), []
    while tasks := planner(history):
        history.append([SearchResult(task, 0, 0.5, 1, 1.0) for task in tasks])
    trained = sum(result.task.epochs for results in history for result in results)
    assert trained <= settings.proposed_epochs
    assert interval != 3 or trained > settings.population * settings.epochs


@pytest.mark.parametrize(
    ("teacher", "own", "expected"),
    [("given", False, 0), ("anew", False, 3 * 60 * 10), ("anew", True, 0)],
)
def test_teachers_that_a_students_final_trains_are_counted(teacher, own, expected):
    confirm = {"rungs": [[4, 2], [2, 3]], "validation_fraction": 0.4, "teacher": teacher}
    found = budget_of(_params({"confirm": confirm}), "student", replace(IMAGES, own_validation=own))
    assert found.teachers == expected
    assert found.images == found.proposed + found.confirmed + expected
    assert not budget_of(_params({"confirm": confirm}), "teacher", IMAGES).teachers


def test_only_teachers_are_judged_by_students():
    assert not budget_of(_params({"teacher_by": "student"}), "student", IMAGES).taught


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_search_sees_as_many_images(digits, tmp_path, restarts):
    datasets.save_splits(digits, ("search_train", "search_val"), tmp_path / "inputs" / DATA)
    params = _params(
        {
            "epochs": 2,
            "restarts": restarts,
            "confirm": {"rungs": [[4, 1], [3, 2]], "validation_fraction": 0.4},
        },
        epochs=1,
    )
    spec = make_spec(params, "teacher", tmp_path / "inputs")
    found = runner.run(spec, tmp_path / "inputs", tmp_path / "state", workers=1)
    expected = budget_of(params, "teacher", digits)
    results = [result for results in found.history for result in results]
    final = [result.images_seen for result in results if result.task.candidate]
    assert sum(r.images_seen for r in results if not r.task.candidate) == expected.proposed
    # where candidates do the same, or there are fewer, it is less than the budget
    each = expected.confirmed / params.search.confirm.trainings
    assert len(final) < params.search.confirm.trainings
    assert final == [each] * len(final)


def test_validation_images_of_the_users_own_are_not_trained_on():
    found = budget_of(_params(), "teacher", replace(IMAGES, own_validation=True))
    assert found == Budget(3 * 4 * 70, 10 * 70 * 10)


def test_of_small_classes_each_part_is_rounded_as_the_split_rounds_it():
    labels = np.repeat(np.arange(100), 8)
    images = np.random.default_rng(0).integers(0, 256, (800, 4, 4, 1), dtype=np.uint8)
    train, validation = np.arange(800) % 8 < 5, np.arange(800) % 8 >= 5
    dataset = datasets.assemble(
        "small classes", images, labels, tuple(map(str, range(100))),
        {
            "search_train": np.flatnonzero(train), "search_val": np.flatnonzero(validation),
            "train": np.arange(800), "test": np.arange(0),
        },
    )  # fmt: skip
    confirm = {"rungs": [[4, 2], [2, 3]], "validation_fraction": 0.3}
    found = budget_of(_params({"confirm": confirm}, epochs=1), "teacher", dataset)
    assert len(splits.redrawn(dataset, 0.3, 7).splits["search_train"]) == 600  # not 560
    assert found.confirmed == 10 * 600
