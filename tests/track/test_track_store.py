import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekd.errors import InputError, RunError
from rolekd.secrets import redact
from rolekd.track import store


def test_root_is_the_folder_with_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "a/b").mkdir(parents=True)
    assert store.project_root(tmp_path / "a/b") == tmp_path


def test_root_of_a_dvc_experiment_is_the_checkout(tmp_path: Path) -> None:
    copy = tmp_path / ".dvc/tmp/exps/standalone/tmpabc"
    copy.mkdir(parents=True)
    (copy / "dvc.yaml").touch()
    assert store.project_root(copy) == tmp_path


def test_uri_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store.resolve(None, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert store.resolve(None, tmp_path) == "http://localhost:5000"
    assert store.resolve("sqlite:///other/x.db", tmp_path) == f"sqlite:///{tmp_path}/other/x.db"
    assert store.resolve("sqlite:////x.db", tmp_path) == "sqlite:////x.db"


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "mlruns"])
def test_file_stores_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"track\.uri"):
        store.resolve(uri, tmp_path)


def test_artifacts_lie_beside_the_store() -> None:
    assert store.artifact_location("sqlite:////p/mlflow.db", "e") == "file:///p/mlruns/e"
    assert store.artifact_location("http://host", "e") is None


def test_concurrent_first_use(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    command = f"from rolekd.track import store; store.initialise({uri!r})"
    both = [subprocess.Popen([sys.executable, "-c", command]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert len(connection.execute("SELECT * FROM alembic_version").fetchall()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


def test_failing_initialisation_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RunError, match=r"mlflow\.db: MLflow could not make its tables"):
        store.initialise(f"sqlite:///{tmp_path}/mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()


# the beginning keeps hypothesis from choosing a word of the text around it
SECRET = st.text(st.characters(categories=["L", "N"]), min_size=6).map("Q7".__add__)


@given(SECRET)
def test_no_secret_survives(secret: str) -> None:
    for text in (
        f"postgresql://user:{secret}@host/db",
        f"https://{secret}@host/path and https://me:{secret}@b",
        f"s3://bucket/x?X-Token={secret}&a=1",
        f"password={secret}",
        f"postgresql://u:p@{secret}@host/db",
    ):
        assert secret not in redact(text), text
    cleaned = store.clean({"search.password": secret, "aws_secret_access_key": secret}, 100)
    assert secret not in cleaned.values()


def test_what_is_no_secret_stays() -> None:
    values = {"data.path": "/data/a@b", "optimizer": "adam", "url": "https://host:5000/a"}
    assert store.clean(values, 100) == values


def test_keys_and_lengths_fit_mlflow() -> None:
    cleaned = store.clean({"a(b)=c": "x" * 200}, 100)
    assert list(cleaned) == ["a_b__c"]
    assert len(cleaned["a_b__c"]) == 100
