"""The estimate of a run: what is counted, and that it measures."""

from pathlib import Path

import pytest
import yaml

from rolekd.data import dataset as datasets
from rolekd.errors import InputError
from rolekd.outputs import Outputs
from rolekd.params import parse
from rolekd.stages import pace, plan
from rolekd.stages.estimate import OTHERS, estimate, planned_work
from rolekd.stages.pace import DISTILLED_WORK, STUDENT_WORK, TEACHER_WORK, TESTED

SMALL = {
    "teacher": {"model": {"width": 2}, "training": {"epochs": 3, "batch_size": 32}},
    "student": {"model": {"width": 2}, "training": {"epochs": 5, "batch_size": 32}},
    "machine": {"workers": 1},
}


def test_every_stage_that_trains_is_counted(digits):
    params = parse({**SMALL, "compare": {"seeds": 4}}, "the test")
    found = {one.stage: one for one in planned_work(params, digits)}
    assert list(found) == [
        "search_teacher", "train_teacher@searched", "search_student", "distill", "evaluate",
        "the others",
    ]  # fmt: skip
    images = len(digits.splits["train"])
    assert found["train_teacher@searched"].images == {TEACHER_WORK: 3 * images}
    # two of the seven arms have no teacher
    assert found["distill"].images == {
        STUDENT_WORK: 2 * 4 * 5 * images,
        DISTILLED_WORK: 5 * 4 * 5 * images,
    }
    assert found["the others"].starts == 11  # three teachers that no arm asks for among them
    assert (found["distill"].trainings, found["distill"].starts) == (28, 7)
    assert found["evaluate"].images == {TESTED: 29 * len(digits.splits["test"])}
    assert found["search_student"].images.keys() == {DISTILLED_WORK}
    assert found["search_teacher"].images.keys() == {TEACHER_WORK}


def test_what_no_arm_asks_for_is_not_counted(digits):
    arm = {"distilled": True, "augmentation": "none", "teacher": "plain", "starts_from": "scratch"}
    compare = {"baseline": "kd", "export": "kd", "arms": {"kd": arm}}
    found = list(planned_work(parse({**SMALL, "compare": compare}, "the test"), digits))
    assert [one.stage for one in found] == [
        "train_teacher@plain", "distill", "evaluate", "the others",
    ]  # fmt: skip
    # they are started all the same: two searches and three teachers, beside plan to register
    assert found[-1].starts == 8 + 5


def test_every_stage_of_the_pipeline_after_prepare_is_counted():
    stages = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text())["stages"]
    counted = {"distill", "evaluate", *OTHERS, *(name for name, _ in plan.STAGES)}
    assert stages.keys() == {"prepare"} | counted


def test_steps_of_every_network_are_timed(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(pace.store, "project_root", lambda: tmp_path)
    datasets.save(digits, Outputs(tmp_path).data)
    found = estimate(parse(SMALL, "the test"), Outputs(tmp_path))
    assert found.images_per_second.keys() == {TEACHER_WORK, STUDENT_WORK, DISTILLED_WORK, TESTED}
    assert all(value > 0 for value in found.images_per_second.values())
    assert found.seconds.keys() == {one.stage for one in found.work}
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert found.megabytes.keys() == found.seconds.keys()
    assert all(megabytes > 50 for megabytes in found.megabytes.values())
    shown = "resnet8, images 8x8x1: stem 3x3 of stride 1, "
    assert found.networks["teacher"].startswith(shown), found.networks


def test_without_data_the_remedy_is_told(tmp_path):
    with pytest.raises(InputError, match=r"data: not prepared yet; dvc repro prepare plan"):
        estimate(parse(SMALL, "the test"), Outputs(tmp_path))


@pytest.mark.parametrize("planned", [False, True])
def test_weights_that_the_plan_has_not_brought_are_named(digits, tmp_path, planned):
    outputs = Outputs(tmp_path)
    datasets.save(digits, outputs.data)
    if planned:  # before the weights were named
        plan._collect(parse({}, "the test"), "teacher", outputs)
    params = parse({"teacher": {"weights": "weights/photos.safetensors"}}, "the test")
    with pytest.raises(InputError, match=r"teacher\.safetensors: not prepared yet; dvc repro"):
        estimate(params, outputs)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"image_size": 16}, "data.image_size 8, and params.yaml has 16 now"),
        ({"channels": 3}, "data.channels 1, and params.yaml has 3 now"),
        ({"source": "cifar10"}, "data.source digits, and params.yaml has cifar10 now"),
    ],
)
def test_data_that_were_prepared_otherwise_are_told(digits, tmp_path, data, told):
    datasets.save(digits, Outputs(tmp_path).data)
    with pytest.raises(InputError, match=f"{told}; dvc repro prepare plan"):
        estimate(parse({"data": data}, "the test"), Outputs(tmp_path))
