"""Stages under torchrun: one run, one state, one set of outputs; all processes end together."""

import csv
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture
def prepared(fresh):
    from rolekd.augment.policy import Policy
    from rolekd.augment.schedule import Schedule

    fresh.run("python", "-m", "pipelines.prepare")
    for role in ("teacher", "student"):
        path = fresh.folder / f"outputs/search_{role}/schedule.json"
        path.parent.mkdir()
        Schedule.constant(Policy.zeros(), 1).save(path)
    return fresh


def _rows(project, stage):
    with (project.folder / "outputs" / stage / "epochs.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_two_processes_write_what_one_does(prepared):
    # Adam divides by gradients near 0, and so makes much of differences of rounding
    steady = {"training": {"optimizer": "sgd", "learning_rate": 0.01}}
    prepared.set(teacher=steady, student=steady)
    rows = {}
    for start in ([sys.executable], TORCHRUN):
        prepared.run(*start, "-m", "pipelines.train_teacher")
        prepared.run(*start, "-m", "pipelines.distill", "--arm", "kd-shared")
        rows[len(start)] = (
            _rows(prepared, "train_teacher/searched"),
            _rows(prepared, "distill/kd-shared"),
        )
        assert len(list((prepared.folder / "outputs/distill/kd-shared/weights").iterdir())) == 2
        assert not list((prepared.folder / ".rolekd/state").glob("*/*.safetensors"))
    (one, taught), (two, taught_by_two) = rows.values()
    assert len(one) == len(two) == 1
    assert len(taught) == len(taught_by_two) == 2
    assert two[0] == pytest.approx(one[0], rel=1e-4)
    # quantisers: weights that differ by one millionth change a student's loss by a hundredth
    for ours, expected in zip(taught_by_two, taught, strict=True):
        assert ours["loss"] == pytest.approx(expected["loss"], rel=0.1)
    with sqlite3.connect(prepared.folder / "mlflow.db") as store:
        (count,) = store.execute(
            "select count(*) from runs where name = 'train_teacher'"
        ).fetchone()
    assert count == 2  # one of each start, not of each process


def _ranks(parent):
    """Return the process ids of torchrun's workers."""
    found = subprocess.run(
        ["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]


@pytest.mark.parametrize("victim", ["a rank", "torchrun"])
def test_where_one_process_is_killed_the_others_end(prepared, victim):
    prepared.set(teacher={"training": {"epochs": 5000}})
    process = subprocess.Popen(
        [*TORCHRUN, "-m", "pipelines.train_teacher"],
        cwd=prepared.folder,
        env=prepared.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = prepared.folder / ".rolekd/state"
    while not list(state.glob("*/*.safetensors")):  # the first state, after 15 seconds
        assert process.poll() is None
        time.sleep(0.2)
    ranks = _ranks(process.pid)
    assert len(ranks) == 2
    os.kill(ranks[1] if victim == "a rank" else process.pid, signal.SIGKILL)
    assert process.wait(timeout=120) != 0
    for _ in range(100):
        if not any(os.path.exists(f"/proc/{rank}") for rank in ranks):  # noqa: PTH110
            break
        time.sleep(0.2)
    else:
        pytest.fail("a process is still there")
    assert not (prepared.folder / "outputs/train_teacher").exists()
