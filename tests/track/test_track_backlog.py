"""What earlier runs could not send is sent by the next one, which it neither stops nor keeps."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from rolekd.track import runs, store

LOST = "http://127.0.0.1:9"
KILLED = """
import os, signal
from rolekd.track import runs
run = runs.start("killed", experiment="e", uri="http://127.0.0.1:9", send=False)
run.child("seed 0").epoch({"loss": 1.0}, 0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolekd.track.sender._SECONDS_OF_GRACE", 0.0)


def recorded(project: Path) -> dict[str, str]:
    """Return name -> status of the runs in the store."""
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("e")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run.info.status for run in found}


def spools(project: Path) -> list[Path]:
    return sorted(store.spool_folder(project).iterdir())


def test_the_next_run_sends_what_a_lost_store_and_a_kill_left(project: Path) -> None:
    with runs.start("lost", experiment="e", uri=LOST) as run:
        run.log_params({"seed": 0})
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == -9
    assert len(spools(project)) == 2
    with runs.start("next", experiment="e"):
        pass
    wanted = {"lost": "FINISHED", "killed": "KILLED", "seed 0": "KILLED", "next": "FINISHED"}
    assert recorded(project) == wanted
    assert not spools(project)


def test_a_run_that_goes_on_is_left_alone(project: Path) -> None:
    with runs.start("first", experiment="e", send=False) as first:
        with runs.start("second", experiment="e"):
            pass
        assert recorded(project) == {"second": "FINISHED"}
        assert len(spools(project)) == 1
        first.log_metrics({"accuracy": 1.0})
    assert recorded(project) == {"first": "FINISHED", "second": "FINISHED"}


def test_what_is_damaged_is_named_and_costs_the_run_nothing(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with runs.start("lost", experiment="e", uri=LOST):
        pass
    (spool,) = spools(project)
    (spool / "sent.json").write_text("{")
    with runs.start("next", experiment="e") as run:
        assert run.run_id()
    assert recorded(project) == {"next": "FINISHED"}
    assert spools(project) == [spool]
    assert f"of an earlier run, lost: 0 records sent; {spool}/sent.json" in caplog.text


def test_a_backlog_that_hangs_does_not_hold_up_the_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang = threading.Event()
    monkeypatch.setattr("rolekd.track.backlog._SECONDS_OF_GRACE", 0.1)
    monkeypatch.setattr("rolekd.track.sync.sync", lambda *_: [hang.wait(60)][:0])
    begin = time.monotonic()
    with runs.start("next", experiment="e") as run:
        assert run.run_id()
    assert recorded(project) == {"next": "FINISHED"}
    assert time.monotonic() - begin < 50
    hang.set()


def test_a_backlog_that_fails_does_not_fail_the_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("https://me:hidden@host broke")

    monkeypatch.setattr("rolekd.track.sync.sync", fail)
    with runs.start("next", experiment="e"):
        pass
    assert recorded(project) == {"next": "FINISHED"}
    assert "records of earlier runs wait on" in caplog.text
    assert "hidden" not in caplog.text


def test_a_lost_store_is_not_asked_for_the_backlog(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("rolekd.track.sync.sync", lambda *arguments: asked.append(arguments))
    with runs.start("lost", experiment="e", uri=LOST):
        pass
    assert not asked
