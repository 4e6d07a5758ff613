import json

import pytest

from rolekd import files
from rolekd.errors import InputError
from rolekd.outputs import Arms, EvaluateMetrics, Lineage, Outputs, RunId, VersionRecord, run_ids


def test_records_survive_the_disk(tmp_path):
    path = tmp_path / "version.json"
    version = VersionRecord(name="m", version=2, uri="models:/m/2")
    version.save(path)
    assert VersionRecord.load(path) == version
    row = {"generation": 0, "member": 1, "parent": None, "first_epoch": 0, "epochs": 3}
    rows = [{**row, "accuracy": None, "images_seen": 5, "policy": [0] * 60, "extra": 0.5}]
    Lineage.model_validate(rows).save(path)
    assert json.loads(path.read_text()) == rows == Lineage.load(path).model_dump()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "name: field required"),
        ('{"name": "m", "version": 2, "uri": "u", "more": 1}', "more: extra inputs"),
        ('{"name": "m", "version": "two", "uri": "u"}', "version: "),
        ("[]", "the file: "),
    ],
)
def test_a_file_of_another_shape_is_named_with_key_and_remedy(tmp_path, text, message):
    path = tmp_path / "version.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"version.json: {message}.*dvc repro"):
        VersionRecord.load(path)


def test_an_arm_without_results_is_told():
    with pytest.raises(InputError, match="no arm 'kd'"):
        Arms(baseline="a", exported="a", images=1, confidence=0.95, arms=[]).arm("kd")


def test_metrics_are_numbers_under_one_name_each():
    found = EvaluateMetrics(test_accuracy={"teacher": 0.9, "kd": 0.5})
    assert found.teacher_accuracy == 0.9
    assert found.numbers() == {"test_accuracy.teacher": 0.9, "test_accuracy.kd": 0.5}


def test_run_ids_are_found_and_what_no_arm_asked_for_has_none(tmp_path):
    outputs = Outputs(tmp_path)
    RunId(mlflow_run_id="abc").save(outputs.run("search_teacher"))
    outputs.run("train_teacher", "plain").write_text(files.NOTHING)
    RunId().save(outputs.run("export"))  # MLflow did not answer
    RunId(mlflow_run_id="d").save(outputs.run("distill", "kd"))
    assert run_ids(outputs) == {"distill@kd": "d", "search_teacher": "abc"}


@pytest.mark.parametrize("text", ["[1]", '{"mlflow_run_id": 3}', '"abc"'])
def test_what_is_not_a_run_id_is_named(tmp_path, text):
    outputs = Outputs(tmp_path)
    outputs.run("evaluate").parent.mkdir()
    outputs.run("evaluate").write_text(text)
    with pytest.raises(InputError, match=r"runs/evaluate.json: .*dvc repro"):
        run_ids(outputs)


def test_searched_are_the_roles_whose_schedules_hold_something(tmp_path):
    outputs = Outputs(tmp_path)
    with pytest.raises(InputError, match=r"search_teacher/schedule.json: cannot be read"):
        outputs.searched()
    for role, text in {"teacher": "{}", "student": ""}.items():
        outputs.schedule(role).parent.mkdir()
        outputs.schedule(role).write_text(text)
    assert outputs.searched() == ["teacher"]
