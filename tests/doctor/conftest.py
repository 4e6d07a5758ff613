import shutil
from pathlib import Path

import pytest

from rolekd.track import store


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised SQLite store, made once: its tables take seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    store.initialise(f"sqlite:///{path}")
    return path


@pytest.fixture
def project_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables: Path) -> Path:
    """A project folder with an MLflow store, as current folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "params.yaml").write_text("{}\n")
    shutil.copyfile(tables, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path
