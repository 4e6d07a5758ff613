import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from rolekd.cli.sync import sync
from rolekd.errors import RolekdError
from rolekd.params import TrackParams
from rolekd.track import runs


@pytest.fixture
def waiting(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a run that never reached its store."""
    monkeypatch.setattr("rolekd.track.sender._SECONDS_OF_GRACE", 0.0)
    with runs.start("train", experiment="e", track=TrackParams(uri="http://127.0.0.1:9")) as run:
        run.log_params({"seed": 0})
    return project


def test_sync_sends_and_says_so(waiting: Path) -> None:
    told = CliRunner().invoke(sync, catch_exceptions=False)
    client = MlflowClient(f"sqlite:///{waiting}/mlflow.db")
    (sent,) = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert told.output == f"train: 4 records sent, MLflow run {sent.info.run_id}\n"
    assert sent.data.params == {"seed": "0"}
    # of MLflow, which nobody asks then, nothing is said
    assert CliRunner().invoke(sync, ["--uri", "http://127.0.0.1:9"]).output == (
        f"nothing to send: no records wait in {waiting}/.rolekd/spool\n"
    )


def test_sync_for_scripts(waiting: Path) -> None:
    told = CliRunner().invoke(sync, ["--json"], catch_exceptions=False)
    (outcome,) = json.loads(told.output)
    assert (outcome["run"], outcome["records"], outcome["running"]) == ("train", 4, False)


def test_store_still_away(waiting: Path) -> None:
    told = CliRunner().invoke(sync, ["--uri", "http://me:hidden@127.0.0.1:9"])
    assert isinstance(told.exception, RolekdError)
    assert told.exception.exit_code == 1
    assert "hidden" not in str(told.exception)
    assert "127.0.0.1" in str(told.exception)
    assert len(list((waiting / ".rolekd/spool").iterdir())) == 1
