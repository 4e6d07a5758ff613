"""Stages where a network begins with weights of a file, or is taken as it is."""

import itertools
import json
from typing import get_args

import pytest
import torch

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.data.batches import Normalize
from rolekd.models import build
from rolekd.outputs import Outputs
from rolekd.params import TeacherName, parse
from rolekd.stages import search
from rolekd.stages.stage import Stage
from rolekd.stages.train_teacher import train_teacher
from rolekd.track.runs import SilentRun
from rolekd.train import roles, state
from rolekd.train.evaluate import accuracy, predict

THEIRS = {"mean": [0.2], "std": [0.4]}
NAMED = {"model": {"width": 4}, "weights": "weights/x.safetensors"}
SECTIONS = {
    "machine": {"device": "cpu"},
    "teacher": {**NAMED, "training": {"epochs": 1}},
    "student": {**NAMED, "training": {"epochs": 1}},
    "compare": {"baseline": "kd", "export": "kd", "arms": {"kd": {
        "distilled": True, "augmentation": "none", "teacher": "plain", "starts_from": "teacher",
    }}},
}  # fmt: skip


@pytest.fixture
def source(digits, tmp_path):
    """Weights of a network for digits, where the stage plan leaves them; data beside them."""
    outputs = Outputs(tmp_path / "outputs")
    datasets.save(digits, outputs.data)
    network = build("resnet8", classes=10, channels=1, image_size=(8, 8), width=4, seed=9)
    for role in ("teacher", "student"):
        outputs.pretrained(role).parent.mkdir(exist_ok=True)
        tensors = network.state_dict()
        about = {"normalization": THEIRS, "image_size": [32, 32]}
        state.write_weights(outputs.pretrained(role), tensors, about)
    return network.state_dict()


def _stage(tmp_path, name, variant=None, **changes):
    params = parse({**SECTIONS, **changes}, "the test")
    outputs = Outputs(tmp_path / "outputs")
    folder = outputs.stage(name, variant)
    return Stage(params, SilentRun(), outputs, folder, tmp_path / "state", leads=True)


def test_a_taken_teacher_is_left_as_it_is_and_measured(source, tmp_path, capsys):
    stage = _stage(tmp_path, "train_teacher", "plain", teacher={**NAMED, "train": False})
    train_teacher(stage, "plain")
    left, about = state.read_weights(stage.outputs.teacher("plain"))
    assert all(torch.equal(left[name], value) for name, value in source.items())
    assert about["normalization"] == THEIRS
    assert stage.outputs.epochs("train_teacher", "plain").read_text() == files.NOTHING
    found = json.loads(stage.outputs.metrics("train_teacher", "plain").read_text())
    dataset = datasets.load(stage.outputs.data)
    network, _ = roles.load(stage.outputs.teacher("plain"), dataset)
    images, labels = dataset.split("train")
    logits = predict(network, images, Normalize(dataset, torch.device("cpu")))
    assert found["train_accuracy"] == accuracy(logits, labels)
    said = capsys.readouterr().out
    assert f"taken as it is, {100 * found['train_accuracy']:.2f} %" in said
    assert "; trained with image_size [32, 32], here it is [8, 8]\n" in said
    assert "stem" not in said


def test_a_pretrained_teacher_is_trained_on_and_what_it_took_is_told(source, tmp_path, capsys):
    stage = _stage(tmp_path, "train_teacher", "plain")
    train_teacher(stage, "plain")
    left, _ = state.read_weights(stage.outputs.teacher("plain"))
    name = "stage4.0.conv2.weight"
    moved = (left[name] - source[name]).abs().max()
    assert 0 < moved < 0.2  # from there, not from elsewhere
    assert "teacher.weights: weights/x.safetensors: 74 of 74 tensors" in capsys.readouterr().out


@pytest.mark.parametrize("train", [True, False])
def test_another_stem_of_torchvisions_network_is_told(source, tmp_path, capsys, train):
    """The user knows it in its form for larger images; ours have none."""
    name = "torchvision:mobilenet_v3_small"
    network = build(name, classes=10, channels=1, image_size=(8, 8), seed=9)
    state.write_weights(
        Outputs(tmp_path / "outputs").pretrained("teacher"), network.state_dict(), {}
    )
    teacher = {"model": {"name": name}, "weights": "weights/x.safetensors", "train": train}
    stage = _stage(
        tmp_path, "train_teacher", "plain", teacher=teacher | {"training": {"epochs": 1}}
    )
    train_teacher(stage, "plain")
    told = (
        f"teacher: {name} has a stem 3x3 of stride 1 for images of 8x8; its own is for 96 pixels "
        "and more (docs/sizes.md)\n"
    )
    assert capsys.readouterr().out.count(told) == 1


@pytest.mark.parametrize(
    ("role", "by", "expected"),
    [
        ("teacher", "teacher", {"teacher"}),
        ("teacher", "student", {"teacher", "student"}),
        ("student", "teacher", {"student"}),
    ],
)
def test_a_search_has_the_weights_of_the_networks_that_it_trains(
    source, tmp_path, role, by, expected
):
    stage = _stage(tmp_path, f"search_{role}", search={"teacher_by": by})
    if role == "student":
        stage.outputs.teacher("searched").parent.mkdir(parents=True)
        stage.outputs.teacher("searched").write_bytes(b"weights")
    inputs = search._inputs(stage, role)
    found = {path.stem for path in (inputs / "pretrained").iterdir()}
    assert found == expected
    loaded = datasets.load(inputs / search.DATA)
    network, _ = (
        roles.teacher(stage.params.teacher, loaded, 3)
        if role == "teacher"
        else roles.student(stage.params.student, loaded, 3, None)
    )
    name = "stage4.0.conv2.weight"
    assert torch.equal(network.state_dict()[name], source[name])


def test_without_a_searched_teacher_a_student_has_no_schedule_of_it(source, tmp_path):
    stage = _stage(tmp_path, "search_student")
    path = stage.outputs.schedule("teacher")
    path.parent.mkdir(parents=True)
    path.write_text(files.NOTHING)
    assert search._teachers_own(stage) is None
    path.write_text(json.dumps({"version": 1}))
    with pytest.raises(Exception, match="schedule"):
        search._teachers_own(stage)


def test_each_teacher_without_a_search_sees_other_images(source, tmp_path):
    left = {}
    for name in set(get_args(TeacherName)) - {"searched"}:
        stage = _stage(tmp_path, "train_teacher", name)
        train_teacher(stage, name)
        left[name], _ = state.read_weights(stage.outputs.teacher(name))
    for one, other in itertools.combinations(left.values(), 2):
        assert any(not torch.equal(one[key], value) for key, value in other.items())
