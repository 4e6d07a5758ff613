"""The whole in ten lines: the pipeline's numbers to the byte, and its errors."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_runs import SMALL

import rolekd
from rolekd import facade, files
from rolekd.augment.named import NamedAugmentation
from rolekd.errors import InputError
from rolekd.outputs import Outputs
from rolekd.params import ArmParams, Params
from rolekd.stages.distill import ArmJob, train_seeds
from rolekd.train.state import save_weights

CHANGES = {**SMALL, "machine.workers": 1, "machine.device": "cpu"}


@pytest.fixture(scope="module")
def params():
    return rolekd.Params.preset("digits", CHANGES)


@pytest.fixture(scope="module")
def data(params):
    return rolekd.load_data("digits", params)


@pytest.fixture(scope="module")
def teacher(data, params):
    return rolekd.train_teacher(data, params)


@pytest.fixture(scope="module")
def student(data, params, teacher):
    return rolekd.train_student(data, params, teacher, "randaugment")


def test_from_data_to_class_names(data, params, teacher, student, tmp_path):
    found = rolekd.search_schedule(
        "student", data, params, teacher=teacher, folder=tmp_path / "search"
    )
    assert "The student gets" in repr(found)
    assert "<table>" in found._repr_html_()
    again = rolekd.search_schedule(
        "student", data, params, teacher=teacher, folder=tmp_path / "search"
    )
    assert again.schedule == found.schedule
    own = rolekd.train_student(data, params, teacher, found.schedule)
    measured = student.evaluate(data)
    assert 0 < measured.accuracy <= 1
    assert "<table>" in measured._repr_html_()
    assert measured.confusion.sum() == len(data.splits["test"])
    file = tmp_path / "student.onnx"
    proven = own.export(file, data)
    assert proven.argmax_equal == proven.images
    assert f"{proven.images} of {proven.images} test images" in proven._repr_html_()
    assert proven.test_accuracy == pytest.approx(own.evaluate(data).accuracy)
    image = tmp_path / "photo.png"
    Image.fromarray(data.split("test")[0][0, :, :, 0]).resize((40, 30)).save(image)
    (answer,) = found = rolekd.predict(file, image)
    assert answer.label in data.classes
    assert f"<td>{answer.label}</td>" in found._repr_html_()
    with pytest.raises(InputError, match="not ndarray"):
        rolekd.predict(file, data.images[:2])


def test_the_students_are_those_of_the_stage(data, params, teacher, student, tmp_path):
    from rolekd.data import dataset as datasets

    outputs = Outputs(tmp_path / "outputs")
    datasets.save(data, outputs.data)
    outputs.teacher("searched").parent.mkdir(parents=True)
    teacher.save(outputs.teacher("searched"))
    arm = ArmParams(
        distilled=True, augmentation="randaugment", teacher="searched", starts_from="teacher"
    )
    NamedAugmentation("randaugment").save(outputs.augmentation("kd"))
    compare = params.compare.model_copy(
        update={"arms": {"kd": arm}, "baseline": "kd", "export": "kd", "seeds": 1}
    )
    job = ArmJob(params.model_copy(update={"compare": compare}), "kd", outputs, tmp_path / "state")
    train_seeds(job, iter([0]), lambda _: None)
    save_weights(tmp_path / "ours.safetensors", student.module, student.about)
    ours, theirs = load_file(tmp_path / "ours.safetensors"), load_file(job.weights(0))
    assert {n: v.numpy().tobytes() for n, v in ours.items()} == {
        n: v.numpy().tobytes() for n, v in theirs.items()
    }


def test_a_training_continues_in_its_folder_and_another_has_its_own(
    data, params, teacher, tmp_path
):
    first = rolekd.train_teacher(data, params, folder=tmp_path)
    (state,) = tmp_path.iterdir()
    again = rolekd.train_teacher(data, params, folder=tmp_path)
    assert [row["loss"] for row in again.history] == [row["loss"] for row in first.history]
    changed = rolekd.Params.preset("digits", {**CHANGES, "teacher.training.epochs": 1})
    assert len(rolekd.train_teacher(data, changed, folder=tmp_path).history) == 1
    assert len(list(tmp_path.iterdir())) == 2
    assert state.exists()
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            first.module.state_dict().values(), teacher.module.state_dict().values(), strict=True
        )
    )


def test_arrays_become_a_data_set():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60, 9, 9), np.uint8)
    names = np.array(["cat", "dog", "cow"])[np.arange(60) % 3]
    data = rolekd.load_data((images, names), Params())
    assert data.classes == ("cat", "cow", "dog")
    assert repr(data) == "arrays: 60 images of 9x9x1, 3 classes"
    assert "<th>cow</th>" in data._repr_html_()
    assert data.images.shape == (60, 9, 9, 1)
    assert sorted(np.concatenate([data.splits["train"], data.splits["test"]])) == list(range(60))
    objects = rolekd.load_data((images, names.astype(object)), Params())
    assert objects.digest == data.digest
    labelled = rolekd.load_data((images, np.arange(60) % 3), Params(), classes=["a", "b", "c"])
    assert labelled.classes == ("a", "b", "c")
    other = random.integers(0, 256, (15, 9, 9), np.uint8)
    tested = rolekd.load_data((images, names), Params(), test=(other, names[:15]))
    assert tested.splits["test"].tolist() == list(range(60, 75))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ((np.zeros((4, 8, 8)), np.zeros(4, int)), "images are float64; give uint8"),
        ((np.zeros((4, 8), np.uint8), np.zeros(4, int)), "images have the shape"),
        ((np.zeros((4, 8, 8), np.uint8), np.zeros(3, int)), "4 images, and labels of the shape"),
        ((np.zeros((4, 8, 8), np.uint8), np.full(4, -1)), "count from 0"),
        ((np.zeros((4, 8, 8), np.uint8), np.zeros(4)), "labels are float64"),
        (([np.zeros((8, 8)), np.zeros((9, 8))], np.zeros(2, int)), "images are not an array"),
        ((np.zeros((4, 8, 8), np.uint8),), "1 things; give a pair"),
        ("digit", "did you mean digits"),
        ("/nowhere/at/all", "is neither a folder nor a source"),
    ],
)
def test_what_is_not_data_is_one_line(source, text):
    with pytest.raises(InputError, match=text) as caught:
        rolekd.load_data(source)
    assert "\n" not in str(caught.value)


def test_the_teacher_is_the_stages(data, params, teacher):
    from rolekd.stages.train_teacher import make_training
    from rolekd.train import devices
    from rolekd.train.fit import fit

    training, about = make_training(params, data, NamedAugmentation("none"), devices.resolve("cpu"))
    fit(training)
    assert about == teacher.about
    theirs = training.network.state_dict()
    assert all(torch.equal(v, theirs[n]) for n, v in teacher.module.state_dict().items())


def test_faults_are_those_of_the_command_line(data, params, teacher, student):
    other = rolekd.load_data(
        (np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8), np.arange(90) % 3)
    )
    small = rolekd.Params.preset("digits", {**CHANGES, "teacher.training.batch_size": 2000})
    for action, text in (
        (lambda: rolekd.Params.preset("digit"), "did you mean digits"),
        (lambda: rolekd.Params.preset("digits", {"student.bit": 3}), "did you mean bits"),
        (lambda: rolekd.Params.preset("digits", {"pupil.bits": 3}), "pupil.bits: no such key"),
        (
            lambda: rolekd.train_student(other, params, teacher),
            "for classes 10, the data has 3",
        ),
        (lambda: rolekd.train_student(data, params, student), "is a student"),
        (lambda: rolekd.search_schedule("student", data, params), "needs its teacher"),
        (lambda: rolekd.search_schedule("pupil", data, params), "choose teacher or student"),
        (lambda: rolekd.train_teacher(data, params, "randaug"), "did you mean randaugment"),
        (lambda: rolekd.train_teacher(data, small), "batch_size: 2000 is more than"),
        (lambda: teacher.export("x.onnx", data), "export the student"),
        (lambda: student.evaluate(other), "trained for classes 10"),
        (lambda: student.evaluate(data, "tset"), "did you mean test"),
        (lambda: student.evaluate(data.images), "a ndarray is not a Dataset; rolekd.load_data"),
        (lambda: rolekd.train_teacher(data, {"seed": 1}), "a dict is not a Params; rolekd.Params"),
        (lambda: rolekd.load_data("digits", {"seed": 1}), "a dict is not a Params"),
        (
            lambda: rolekd.train_teacher((data.images, data.labels), params),
            "a tuple is not a Dataset",
        ),
        (
            lambda: rolekd.search_schedule("student", other, params, teacher=teacher),
            "for classes 10, the data has 3",
        ),
    ):
        with pytest.raises(InputError, match=text) as caught:
            action()
        assert "\n" not in str(caught.value)
        # what IPython asks an error for, instead of its traceback
        assert caught.value._render_traceback_() == [f"error: {caught.value}"]


def test_a_cell_that_is_run_again_with_other_parameters_takes_nothing_of_the_first(
    data, params, tmp_path
):
    other = rolekd.Params.preset("digits", {**CHANGES, "teacher.training.learning_rate": 0.001})
    for train, steps in (
        (rolekd.train_teacher, "teacher-*.safetensors"),
        (
            lambda *given, folder=None: rolekd.train_student(*given, None, folder=folder),
            "student-*",
        ),
    ):
        train(data, params, folder=tmp_path)
        again = train(data, params.model_copy(update={"seed": 1}), folder=tmp_path)
        fresh = train(data, params.model_copy(update={"seed": 1}))
        assert [row["loss"] for row in again.history] == [row["loss"] for row in fresh.history]
        assert len(list(tmp_path.glob(steps))) == 2
    rolekd.search_schedule("teacher", data, params, folder=tmp_path)
    again = rolekd.search_schedule("teacher", data, other, folder=tmp_path)
    fresh = rolekd.search_schedule("teacher", data, other)
    assert repr(again) == repr(fresh)
    assert len([path for path in tmp_path.glob("teacher-*") if path.is_dir()]) == 2


def test_a_traceback_is_shown_where_it_is_wanted(monkeypatch):
    monkeypatch.setenv("ROLEKD_DEBUG", "1")
    with pytest.raises(InputError) as caught:
        rolekd.Params.preset("digit")
    assert "Traceback" in caught.value._render_traceback_()[0]


def test_the_package_has_these_names_and_imports_them_late():
    assert {"search_schedule", "train_teacher", "load_data"} <= set(dir(rolekd))
    assert rolekd.search_schedule is facade.search_schedule
    with pytest.raises(AttributeError):
        _ = rolekd.nothing
    assert files.digest(1)  # modules are found as before
