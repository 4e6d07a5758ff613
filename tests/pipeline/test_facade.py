"""What ten lines of Python make is what the stages made, to the byte."""

import dataclasses

import onnx
import pytest

import rolekd
from rolekd import params
from rolekd.augment import named
from rolekd.export.session import HASH_KEY
from rolekd.outputs import Arms, Outputs

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def outputs(project):
    return Outputs(project.folder / "outputs")


@pytest.fixture(scope="module")
def values(project):
    return params.load(str(project.folder / "params.yaml"))


@pytest.fixture(scope="module")
def data(values):
    return rolekd.load_data("digits", values)


@pytest.fixture(scope="module")
def schedules(values, data):
    """The teacher and the schedule of each role."""
    of_teacher = rolekd.search_schedule("teacher", data, values).schedule
    teacher = rolekd.train_teacher(data, values, of_teacher)
    of_student = rolekd.search_schedule("student", data, values, teacher=teacher).schedule
    return teacher, {"teacher": of_teacher, "student": of_student}


@pytest.fixture(scope="module")
def student(values, data, schedules, outputs):
    """The first student of the exported arm."""
    teacher, found = schedules
    name = Arms.load(outputs.arms).exported
    arm = values.compare.arms[name]
    searched = {named.TEACHER_SCHEDULE: "teacher", named.STUDENT_SCHEDULE: "student"}
    role = searched.get(arm.augmentation)
    trained = rolekd.train_student(
        data, values, teacher if arm.distilled else None, found[role] if role else arm.augmentation
    )
    # a file of the stage says of which arm and seed it is
    return dataclasses.replace(trained, about={**trained.about, "arm": name, "seed": 0})


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_the_schedules_are_those_of_the_stages(schedules, outputs, role, tmp_path):
    schedules[1][role].save(tmp_path / "schedule.json")
    assert (tmp_path / "schedule.json").read_bytes() == outputs.schedule(role).read_bytes()


def test_the_weights_are_those_of_the_stages(schedules, student, outputs, tmp_path):
    arm = Arms.load(outputs.arms).exported
    for network, theirs in (
        (schedules[0], outputs.teacher("searched")),
        (student, outputs.student(arm, 0)),
    ):
        network.save(tmp_path / "weights.safetensors")
        assert (tmp_path / "weights.safetensors").read_bytes() == theirs.read_bytes()


def test_the_graph_is_that_of_the_stage(student, data, outputs, tmp_path):
    student.export(tmp_path / "student.onnx", data)
    ours, theirs = onnx.load(tmp_path / "student.onnx"), onnx.load(outputs.graph)
    said = [{each.key: each.value for each in model.metadata_props} for model in (ours, theirs)]
    hashes = [each.pop(HASH_KEY) for each in said]  # of what is below, too
    assert hashes[0] != hashes[1]
    # of the stage's it is known, too, which arm it is of, and what that reached
    assert said[0].items() <= said[1].items()
    assert said[1].keys() - said[0].keys() == {"arm", "seed", "test_accuracy"}
    for model in (ours, theirs):
        del model.metadata_props[:]
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(
        deterministic=True
    )
