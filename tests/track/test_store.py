import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from rolekd.errors import InputError, RunError
from rolekd.secrets import redact
from rolekd.track import runs, store


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


def test_what_records_call_their_store(tmp_path: Path) -> None:
    here = store.known_as(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    assert here == "sqlite:///mlflow.db"  # the same where the project moved
    assert store.is_known_as(here, "sqlite:////moved/mlflow.db", Path("/moved"))
    assert not store.is_known_as(here, "sqlite:////moved/other.db", Path("/moved"))
    assert store.known_as("sqlite:////a@x/mlflow.db", tmp_path) == "sqlite:////a@x/mlflow.db"
    assert not store.is_known_as("sqlite:////a@x/m.db", "sqlite:////b@x/m.db", tmp_path)
    assert store.is_known_as(f"sqlite:///{tmp_path}/mlflow.db", here, tmp_path)  # of before
    server = "postgresql://user:hidden@host/runs"
    assert "hidden" not in store.known_as(server, tmp_path)
    assert store.is_known_as(store.known_as(server, tmp_path), server, tmp_path)


@pytest.mark.parametrize("name", ["feature%2Fx", "why? #1", "a%b@c"])
def test_runs_in_a_folder_of_any_name(
    name: str, tmp_path: Path, fresh_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (folder := tmp_path / name).mkdir()
    shutil.copyfile(fresh_store, folder / "mlflow.db")
    (folder / "params.yaml").write_text("{}\n")
    monkeypatch.chdir(folder)
    with runs.start("prepare", experiment="rolekd-digits") as run:
        run.log_metrics({"images": 3.0})
        run.log_artifact(folder / "params.yaml", "inputs")
    client = MlflowClient(store.resolve(None, folder))
    found = client.get_run(run.run_id())
    assert found.data.metrics == {"images": 3.0}
    (kept,) = (folder / "mlruns").rglob("params.yaml")
    assert kept.parts[-3:] == ("artifacts", "inputs", "params.yaml")
    assert client.list_artifacts(found.info.run_id, "inputs")
    assert list(tmp_path.iterdir()) == [folder]


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
    cleaned = store.cleaned({"search.password": secret, "aws_secret_access_key": secret}, 100)
    assert secret not in cleaned.values()


def test_what_is_not_a_secret_stays() -> None:
    values = {"data.path": "/data/a@b", "optimizer": "adam", "url": "https://host:5000/a"}
    assert store.cleaned(values, 100) == values


def test_keys_and_lengths_fit_mlflow() -> None:
    cleaned = store.cleaned({"a(b)=c": "x" * 200}, 100)
    assert list(cleaned) == ["a_b__c"]
    assert len(cleaned["a_b__c"]) == 100
