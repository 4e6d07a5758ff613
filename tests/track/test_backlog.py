"""What earlier runs could not send is sent by the next one, which it neither stops nor keeps."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from rolekd.errors import RunError
from rolekd.params import TrackParams
from rolekd.track import runs, store

KILLED = """
import os, signal
from rolekd.track import runs
run = runs.start("killed", experiment="e", send=False)
run.child("seed 0").epoch({"loss": 1.0}, 0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def lose(name: str) -> None:
    """Make a run whose store does not answer."""

    def fail(_: str) -> None:
        raise RunError("the store is away; wait")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rolekd.track.sender._SECONDS_OF_GRACE", 0.0)
        patch.setattr(store, "initialise", fail)
        with runs.start(name, experiment="e"):
            pass


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
    lose("lost")
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == -9
    assert len(spools(project)) == 2
    with runs.start("next", experiment="e"):
        pass
    wanted = {"lost": "FINISHED", "killed": "KILLED", "seed 0": "KILLED", "next": "FINISHED"}
    assert recorded(project) == wanted
    assert not spools(project)


def test_a_run_that_continues_is_left_alone(project: Path) -> None:
    with runs.start("first", experiment="e", send=False) as first:
        with runs.start("second", experiment="e"):
            pass
        assert recorded(project) == {"second": "FINISHED"}
        assert len(spools(project)) == 1
        first.log_metrics({"accuracy": 1.0})
    assert recorded(project) == {"first": "FINISHED", "second": "FINISHED"}


def test_what_was_meant_for_another_store_is_left_alone(project: Path) -> None:
    other = f"sqlite:///{project}/other.db"
    (project / "other.db").write_bytes((project / "mlflow.db").read_bytes())
    lose("lost")
    with runs.start("elsewhere", experiment="e", track=TrackParams(uri=other)):
        pass
    assert len(spools(project)) == 1
    assert recorded(project) == {}
    with runs.start("next", experiment="e"):
        pass
    assert recorded(project) == {"lost": "FINISHED", "next": "FINISHED"}


def test_what_is_damaged_is_named_and_costs_the_run_nothing(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lose("lost")
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
    monkeypatch.setattr("rolekd.track.sync.sync", lambda *_, **__: [hang.wait(60)][:0])
    begin = time.monotonic()
    with runs.start("next", experiment="e") as run:
        assert run.run_id()
    assert recorded(project) == {"next": "FINISHED"}
    assert time.monotonic() - begin < 50
    hang.set()


def test_a_backlog_that_fails_does_not_fail_the_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
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
    monkeypatch.setattr("rolekd.track.sync.sync", lambda *_, **__: asked.append(1))
    lose("lost")
    assert not asked
