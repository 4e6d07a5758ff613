"""One training of a study: what is measured of it, and what tells it from others."""

from dataclasses import replace

import numpy as np
import pytest
from small_runs import SMALL

from rolekd.augment import ladder
from rolekd.augment.corruptions import CORRUPTIONS, STRENGTHS
from rolekd.augment.named import NamedAugmentation
from rolekd.augment.schedule import Schedule
from rolekd.data import dataset as datasets
from rolekd.evidence.trainings import DATA, Trainings, TrainingSpec, take
from rolekd.fleet.jobs import read
from rolekd.fleet.tasks import Slot, Task
from rolekd.params import Params
from rolekd.sources.prepare import prepare
from rolekd.train import roles


@pytest.fixture(scope="module")
def params():
    return Params.preset("digits", {**SMALL, "machine.device": "cpu"})


@pytest.fixture(scope="module")
def data(params):
    return prepare(params.data, params.seed)


def _plain(params, data, augmentation="none", **more):
    return TrainingSpec.of(data.digest, "student", params, NamedAugmentation(augmentation), **more)


def test_all_is_measured_and_the_weights_are_a_students(params, data, tmp_path):
    datasets.save(data, tmp_path / DATA)
    training = _plain(params, data)
    described = Trainings.of("x", "digits", [training], params, tmp_path, corruptions=True)
    job = read(described.to_json())
    assert job == described
    out, task = tmp_path / "out", Task(Slot(0, 0), None, 1)
    outcome = job.make_trainer(tmp_path, tmp_path / "keep").train(task, None, out)
    measured = take(out, tmp_path / "weights.safetensors")
    images, labels = data.split("test")
    assert measured.fault == ""
    assert measured.accuracy == outcome.accuracy
    assert measured.images == len(images)
    assert measured.robust.keys() == CORRUPTIONS.keys()
    assert all(len(values) == STRENGTHS for values in measured.robust.values())
    assert len(measured.per_class) == len(data.classes)
    shares = np.bincount(labels, minlength=len(data.classes)) / len(labels)
    assert np.dot(measured.per_class, shares) == pytest.approx(measured.accuracy, abs=1e-3)
    _, about = roles.load(tmp_path / "weights.safetensors", data)
    assert about["role"] == "student"


def test_what_decides_a_training_tells_it_from_others_and_nothing_else(params, data):
    plain = _plain(params, data)
    nothing = NamedAugmentation("all-0", Schedule.constant(ladder.policy("all-0"), 7))
    assert TrainingSpec.of(data.digest, "student", params, nothing).key == plain.key
    assert TrainingSpec(**plain.to_json()).key == plain.key
    # the teacher's parameters decide no student that has none, nor do those of the distillation
    other = params.model_copy(
        update={
            "teacher": params.teacher.model_copy(update={"model": params.student.model}),
            "distill": params.distill.model_copy(update={"weight": 0.7}),
        }
    )
    assert _plain(other, data).key == plain.key
    different = [
        _plain(params, data, seed=1),
        _plain(params, data, "randaugment"),
        _plain(params, data, distilled=True, teacher="a"),
        _plain(params, data, starts_from_teacher=True, teacher="a"),
        _plain(params, data, starts_from_teacher=True, teacher="b"),
        replace(plain, data="other"),
        replace(plain, weights="other"),
        TrainingSpec.of(data.digest, "teacher", params, NamedAugmentation("none")),
    ]
    assert len({plain.key, *(one.key for one in different)}) == 1 + len(different)
