"""Fixtures of more than one package's tests. Nothing heavy is imported before it is asked for."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from shared import once

if TYPE_CHECKING:
    import servers

    from rolekd.data.dataset import Dataset

# set by CI, DVC or `mlflow run` around the tests; a test must not write to that store
_OUTER = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "DVC_STAGE", "DVC_EXP_NAME", "DVC_ROOT")


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised SQLite store, made once: its tables take seconds."""
    from rolekd.track import store

    def initialise(folder: Path) -> None:
        store.initialise(f"sqlite:///{folder}/mlflow.db")

    return once(tmp_path_factory, "fresh-store", initialise) / "mlflow.db"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_store: Path) -> Path:
    """A project folder of its own with an MLflow store, as current folder."""
    for name in _OUTER:
        monkeypatch.delenv(name, raising=False)
    shutil.copyfile(fresh_store, tmp_path / "mlflow.db")
    (tmp_path / "params.yaml").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(project: Path) -> Iterator["servers.Tracking"]:
    """An MLflow server over the project's store."""
    import servers

    running = servers.Tracking(project)
    yield running
    running.kill()


@pytest.fixture(scope="session")
def digits() -> "Dataset":
    """The default run's data set; only read it."""
    from rolekd.params import DataParams
    from rolekd.sources.prepare import prepare

    return prepare(DataParams(), seed=0)
