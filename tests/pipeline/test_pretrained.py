"""A trained teacher that is taken as it is, and a student that begins with weights of a file."""

import json

import pytest
import torch
import yaml

from rolekd.models import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROLEKD = ("python", "-c", "from rolekd.cli import main; main()")
ARM = {
    "distilled": True,
    "augmentation": "student-schedule",
    "teacher": "searched",
    "starts_from": "teacher",
}


def test_a_taken_teacher_is_neither_searched_nor_trained(fresh, tmp_path):
    theirs = build("resnet8", classes=10, channels=1, image_size=(8, 8), width=4, seed=5)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    words = ("weights", "import", str(tmp_path / "theirs.pth"), "weights/own.safetensors")
    said = fresh.run(*ROLEKD, *words, "--mean", "0.3", "--std", "0.35")
    assert "weights/own.safetensors: " in said
    values = yaml.safe_load((fresh.folder / "params.yaml").read_text())
    named = {"weights": "weights/own.safetensors"}
    values["teacher"] |= named | {"train": False}
    values["student"] |= named
    values["compare"] |= {"baseline": "own", "export": "own", "arms": {"own": ARM}}
    (fresh.folder / "params.yaml").write_text(yaml.safe_dump(values))
    output = fresh.run("dvc", "repro")
    assert "search_teacher: no arm of params.yaml needs it; nothing to do" in output
    assert "teacher: taken as it is, " in output
    assert "student.weights: weights/own.safetensors: " in output
    outputs = fresh.folder / "outputs"
    evaluated = json.loads((outputs / "evaluate/metrics.json").read_text())
    taken = json.loads((outputs / "train_teacher/searched/metrics.json").read_text())
    assert (
        abs(evaluated["test_accuracy"]["teacher"] - taken["train_accuracy"]) < 0.2
    )  # of one network
    assert (outputs / "search_student/schedule.json").stat().st_size
    assert (outputs / "report/index.html").exists()
    assert "Data and pipelines are up to date." in fresh.run("dvc", "repro")
