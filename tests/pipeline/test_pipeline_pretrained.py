"""A trained teacher that is taken as it is, and a student that begins with weights of a file."""

import json
import shutil

import pytest
import yaml
from projects import copied

pytestmark = pytest.mark.timeout(600)


def test_a_taken_teacher_is_neither_searched_nor_trained(project, tmp_path):
    own = copied(project, tmp_path)
    outputs = own.folder / "outputs"
    trained = outputs / "train_teacher/searched/weights.safetensors"
    theirs = tmp_path / "theirs.safetensors"
    shutil.copy(trained, theirs)
    before = json.loads((outputs / "evaluate/metrics.json").read_text())["teacher_accuracy"]
    command = ("python", "-c", "from rolekd.cli import main; main()", "weights", "import")
    own.run(*command, str(theirs), "weights/own.safetensors")
    values = yaml.safe_load((own.folder / "params.yaml").read_text())
    named = {"weights": "weights/own.safetensors"}
    values["teacher"] |= named | {"train": False}
    values["student"] |= named
    arms = values["compare"]["arms"]
    values["compare"]["arms"] = {"kd-rolewise": arms["kd-rolewise"]}
    (own.folder / "params.yaml").write_text(yaml.safe_dump(values))
    output = own.run("dvc", "repro")
    assert "search_teacher: no arm of params.yaml asks for it; nothing to do" in output
    assert "teacher: taken as it is, " in output
    assert "student.weights: weights/own.safetensors: " in output
    found = json.loads((outputs / "evaluate/metrics.json").read_text())
    assert found["teacher_accuracy"] == before
    assert (outputs / "report/index.html").exists()
    again = own.run("dvc", "repro")
    assert "Data and pipelines are up to date." in again
