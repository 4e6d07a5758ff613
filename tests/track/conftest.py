import shutil
from pathlib import Path

import pytest

from rolekd.track import store

# set by CI, DVC or `mlflow run` around the tests; a test must not write to that store
_OUTER = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "DVC_STAGE", "DVC_EXP_NAME", "DVC_ROOT")


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised SQLite store, made once: its tables take seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    store.initialise(f"sqlite:///{path}")
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_store: Path) -> Path:
    """A project folder of its own with an MLflow store, as current folder."""
    for name in _OUTER:
        monkeypatch.delenv(name, raising=False)
    shutil.copyfile(fresh_store, tmp_path / "mlflow.db")
    (tmp_path / "params.yaml").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path
