import os
import re
import subprocess

import lives
import pytest

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"serach": {}}, "serach: unknown key; did you mean search?"),
        ({"student": {"bits": 33}}, "student.bits: input should be less than or equal to 8"),
        ({"search": {"population": 1}}, "search.population: input should be greater"),
        ({"student": {"model": {"name": "resnt8"}}}, "model resnt8: unknown network; did you mean"),
        (
            {"student": {"overrides": {"stage9.0.conv1": 4}}},
            "overrides.stage9.0.conv1: no such layer; did you mean stage",
        ),
        (
            {"distill": {"loss": {"sft": 1.0}}},
            "distill.loss.sft: unknown loss sft; did you mean soft",
        ),
        ({"search": {"interval_epochs": 99}}, "longer than epochs 2"),
        ({"data": {"source": "digits", "path": "rolekd/train"}}, "data.path: the source digits"),
        ({"data": {"path": "nowhere"}}, "nowhere: is missing"),
    ],
)
def test_bad_parameters_are_one_line_and_leave_nothing(bare, change, message):
    output = bare.run_with(change, "python", "-m", "pipelines.prepare", code=2)
    assert message in output
    assert len([line for line in output.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in output
    assert not (bare.folder / "outputs").exists()


def test_a_wrong_role_and_a_wrong_arm_are_refused(bare):
    output = bare.run("python", "-m", "pipelines.search", "--role", "coach", code=2)
    assert output.startswith("error: Invalid value for '--role': 'coach' is not one of")
    output = bare.run("python", "-m", "pipelines.distill", "--arm", "kd-nothing", code=2)
    assert output.startswith("error: stage distill: no 'kd-nothing' among plain, kd-trivial")


def test_a_stage_without_its_inputs_names_them(bare):
    output = bare.run("python", "-m", "pipelines.train_teacher", code=2)
    assert "error: outputs/plan/train_teacher_searched.json: cannot be read" in output
    assert "Traceback" not in output


def test_a_diverging_training_tells_epoch_and_rate_and_leaves_no_weights(fresh):
    training = {"learning_rate": 100.0, "optimizer": "sgd", "batch_size": 4}
    fresh.set(teacher={"training": training})
    fresh.run("python", "-m", "pipelines.prepare")
    fresh.run("python", "-m", "pipelines.plan")
    schedule = fresh.folder / "outputs/search_teacher/schedule.json"
    schedule.parent.mkdir()
    from rolekd.augment.policy import Policy
    from rolekd.augment.schedule import Schedule

    Schedule.constant(Policy.zeros(), 1).save(schedule)
    output = fresh.run("python", "-m", "pipelines.train_teacher", code=1)
    # the highest of the epoch
    assert re.search(r"in epoch 0 at learning rate (99\.\d+|100);", output)
    assert not (fresh.folder / "outputs/train_teacher/searched/weights.safetensors").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_unwritable_output_folder_is_named(fresh):
    (fresh.folder / "outputs").mkdir()
    (fresh.folder / "outputs").chmod(0o500)
    assert "cannot write here" in fresh.run("python", "-m", "pipelines.prepare", code=2)


def test_an_output_folder_that_is_a_file_is_named(fresh):
    (fresh.folder / "outputs").write_text("in the way")
    output = fresh.run("python", "-m", "pipelines.prepare", code=2)
    assert "outputs/data: cannot write here" in output


def test_killing_dvc_leaves_no_stage_writing(fresh):
    fresh.set(search={"epochs": 400, "interval_epochs": 1}, machine={"workers": 2})
    fresh.run("dvc", "repro", "prepare")
    fresh.environment[lives.MARK] = mark = "dvc is killed"
    process = subprocess.Popen(
        ["dvc", "repro", "search_teacher"],
        cwd=fresh.folder,
        env=fresh.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert lives.until(
            lambda: sum(one.stage is not None for one in lives.marked(mark)) > 1, 120
        )
    finally:
        process.kill()
        process.wait()
    assert lives.until(lambda: not lives.marked(mark), 20)
