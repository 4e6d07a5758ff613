"""Each failure is said in one line, with a number and a remedy; a run that succeeds has none."""

from dataclasses import replace

import numpy as np
import pytest
from comparisons import comparing
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from rolekd.data import dataset as datasets
from rolekd.params import Params
from rolekd.report import exact, tables
from rolekd.report.failures import RunFacts, failures

CLASSES = ("a", "b", "c", "d")
TEST = 200
LABELS = np.arange(2 * TEST) % 4
ARMS = ("kd-rolewise", "kd", "plain")
SEEDS = 3


def logits(right: int, seed: int = 0) -> np.ndarray:
    """Logits [TEST, 4] that are right on so many images, in an order of the seed."""
    found = np.eye(4)[LABELS[:TEST]]
    wrong = np.random.default_rng(seed).permutation(TEST)[right:]
    found[wrong] = np.roll(found[wrong], 1, axis=1)
    return found.astype(np.float32)


def rows(accuracy: float, rate: float = 1e-5, seeds: int = SEEDS) -> list[dict[str, str]]:
    return [
        {"seed": str(s), "epoch": str(e), "accuracy": str(accuracy * (e + 1) / 3),
         "learning_rate": str(rate)}
        for s in range(seeds) for e in range(3)
    ]  # fmt: skip


def make(
    student: int = 170, teacher: int = 180, *, validation: int = 60, epochs: dict | None = None
) -> RunFacts:
    params = Params().model_copy(update={"compare": comparing(ARMS)})
    images = np.random.default_rng(0).integers(0, 256, (2 * TEST, 4, 4, 1), dtype=np.uint8)
    train = np.arange(TEST, 2 * TEST)
    splits = {
        "test": np.arange(TEST),
        "train": train,
        "search_train": train[validation:],
        "search_val": train[:validation],
    }
    dataset = datasets.assemble("noise", images, LABELS, CLASSES, splits)
    students = {
        arm: np.stack([logits(student, 10 * place + seed) for seed in range(SEEDS)])
        for place, arm in enumerate(ARMS)
    }
    compare = params.compare
    return RunFacts(
        params=params,
        dataset=dataset,
        evaluation=tables.summarise(students, LABELS[:TEST], CLASSES, compare),
        students=students,
        teachers={"searched": logits(teacher, 99)},
        epochs={"teacher": rows(0.99, seeds=1), **{arm: rows(0.95) for arm in ARMS}}
        | (epochs or {}),
        searched=["teacher", "student"],
    )


def only(run: RunFacts) -> str:
    (line,) = failures(run)
    assert line.endswith(".")
    assert ";" in line or ": raise" in line, "no remedy"
    assert "\n" not in line
    return line


def test_a_run_that_succeeds_has_none() -> None:
    assert failures(make()) == []


def test_a_teacher_at_chance_or_of_one_class() -> None:
    run = replace(make(), teachers={"plain": logits(55)})
    assert only(run).startswith(
        "Plain teacher: 27.5 %, not clearly above the 25.0 % of naming the largest class, and can"
    )
    run = replace(make(), teachers={"plain": np.tile(np.eye(4)[1], (TEST, 1))})
    assert only(run).startswith("Plain teacher: collapsed to one class, and cannot teach; lower")


def test_students_at_chance_or_of_one_class() -> None:
    lines = failures(make(student=52))
    assert [line.split(":")[0] for line in lines] == list(ARMS)
    assert "with 3 of 3 seeds; lower student.training.learning_rate" in lines[0]
    run = make()
    students = {**run.students, "kd": np.tile(np.eye(4)[0], (SEEDS, TEST, 1))}
    found = tables.summarise(students, LABELS[:TEST], CLASSES, run.params.compare)
    # said once, as what it is
    line = only(replace(run, students=students, evaluation=found))
    assert "collapsed to one class with seeds 0, 1 and 2, 3 of 3; lower" in line


def test_a_teacher_below_its_student() -> None:
    line = only(make(teacher=140))
    assert line.startswith("Teacher: 70.0 %, clearly below its student kd-rolewise with 85.0 %")
    # a few images are chance
    assert failures(make(teacher=168)) == []


def test_training_accuracy_far_below() -> None:
    line = only(make(epochs={"kd": rows(0.4), "plain": rows(0.5)}))
    assert line.startswith("Training accuracy of the student far below 100 % after 60 epochs (")
    assert "(kd 40 %, plain 50 %; half-way from chance is 62 %)" in line
    assert "of the teacher far below" in only(make(epochs={"teacher": rows(0.3, seeds=1)}))


def test_a_learning_rate_that_never_fell() -> None:
    line = only(make(epochs={"kd": rows(0.95, rate=2e-2)}))
    assert line.startswith("The learning rate of the student never fell: 60 epochs with lr_sch")
    assert failures(make(epochs={"kd": rows(0.95, rate=9e-3)})) == []


def test_too_few_validation_images() -> None:
    run = make(validation=8)
    final = run.params.search.confirm
    assert final is not None
    assert failures(run) == []  # the final draws more, several times
    few = final.model_copy(update={"validation_fraction": 0.03})
    search = run.params.search.model_copy(update={"confirm": few})
    line = only(replace(run, params=run.params.model_copy(update={"search": search})))
    times = final.rungs[-1][1]
    assert line.startswith(f"The searches measured on 8 validation images, {times} times each: ")
    assert "raise search.confirm.validation_fraction" in line
    assert "arbitrary" not in line  # log loss decides, which shows more
    search = run.params.search.model_copy(update={"confirm": None})
    alone = replace(run, params=run.params.model_copy(update={"search": search}))
    assert "on 8 validation images, once each" in only(alone)
    assert "the choice is arbitrary" in only(alone)
    own = replace(alone, dataset=replace(run.dataset, own_validation=True))
    assert "; add validation images" in only(own)
    assert failures(replace(alone, searched=[])) == []


def test_trainings_without_rows_say_nothing() -> None:
    """A teacher that was taken as it is was not trained here."""
    assert failures(make(epochs={"teacher": [], "kd": [{"seed": "0", "epoch": "0"}]})) == []


@given(st.integers(0, TEST))
def test_chance_is_the_binomial_tail(right: int) -> None:
    found = exact.chance_p_value(np.arange(TEST) < right, LABELS[:TEST])
    assert found == pytest.approx(binom.sf(right - 1, TEST, 0.25), abs=1e-12)
