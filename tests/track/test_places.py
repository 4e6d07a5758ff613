"""Stores whose project was moved or copied, with its artifacts or without."""

import logging
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from onnx_models import linear_model

from rolekd.addresses import of_sqlite
from rolekd.doctor import stores
from rolekd.errors import InputError
from rolekd.registry import fetch, versions
from rolekd.track import places, runs, store

NAME = "rolekd-digits-student"


def record(folder: Path, name: str) -> str:
    with runs.start(name, experiment="rolekd-digits") as run:
        run.log_artifact(folder / "params.yaml")
        found = run.run_id()
    assert found is not None
    return found


@pytest.fixture
def first(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a run and a registered version, in the folder "first %2F"."""
    folder = tmp_path / "first %2F"
    folder.mkdir()
    for name in ("mlflow.db", "params.yaml"):
        (project / name).rename(folder / name)
    monkeypatch.chdir(folder)
    run = record(folder, "one")
    example = np.zeros((1, 8, 8, 1), np.uint8)
    path = linear_model(folder / "student.onnx")
    versions.register(path, name=NAME, run_id=run, example=example, uri=store.resolve(None, folder))
    return folder


def locations(database: Path) -> list[str]:
    with sqlite3.connect(database) as connection:
        return [
            text
            for column, table in (
                ("artifact_location", "experiments"),
                ("artifact_uri", "runs"),
                ("artifact_location", "logged_models"),
                ("storage_location", "model_versions"),
            )
            for (text,) in connection.execute(f"SELECT {column} FROM {table}")
            if "mlruns/rolekd" in text
        ]


@pytest.mark.parametrize("way", ["moved", "copied", "copied, the first changed"])
def test_what_came_along_is_found(
    way: str,
    first: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    second = tmp_path / "second ?"
    if way == "moved":
        first.rename(second)
    else:
        shutil.copytree(first, second)
    monkeypatch.chdir(second)
    uri = store.resolve(None, second)
    (told,) = [found for found in stores.mlflow_store(uri) if found.check == "artifacts"]
    assert str(first) in told.found  # doctor changes nothing
    assert all(first.as_uri() in text for text in locations(second / "mlflow.db"))
    with caplog.at_level(logging.WARNING, "rolekd.track"):
        fetched = fetch.fetch_address(f"models:/{NAME}@challenger", tmp_path / "fetched", uri)
    assert fetched.open().image_shape == (8, 8, 1)
    assert caplog.text.count("was in") == 1
    found = locations(second / "mlflow.db")
    assert len(found) == 4
    assert all(text.startswith(f"{second.as_uri()}/mlruns/") for text in found)
    assert [finding.verdict for finding in stores.mlflow_store(uri)] == ["ok"]
    before = sorted(first.rglob("*"))
    run = record(second, "two")
    assert sorted(first.rglob("*")) == before
    assert (second / "mlruns/rolekd-digits" / run / "artifacts/params.yaml").is_file()
    assert places.settle(second / "mlflow.db") == []


def test_a_copied_database_finds_the_artifacts_that_stayed(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    for name in ("mlflow.db", "params.yaml"):
        shutil.copyfile(first / name, second / name)
    monkeypatch.chdir(second)
    uri = store.resolve(None, second)
    fetched = fetch.fetch_address(f"models:/{NAME}@challenger", tmp_path / "fetched", uri)
    assert fetched.graph.is_file()
    run = record(second, "two")
    assert (second / "mlruns/rolekd-digits" / run / "artifacts/params.yaml").is_file()


def test_artifacts_that_did_not_arrive_are_said_to_be_missing(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    first.rename(second)
    shutil.rmtree(second / "mlruns")
    monkeypatch.chdir(second)
    uri = store.resolve(None, second)
    faults = [found for found in stores.mlflow_store(uri) if found.verdict == "fault"]
    assert str(second / "mlruns") in faults[0].found
    with pytest.raises(InputError, match=r"@challenger: its files are not in .*/second/mlruns/"):
        fetch.fetch_address(f"models:/{NAME}@challenger", tmp_path / "fetched", uri)


def test_what_others_chose_stays(project: Path, tmp_path: Path) -> None:
    client = MlflowClient(of_sqlite(project / "mlflow.db"))
    chosen = {"a": "s3://bucket/mlruns/a", "b": "file:///elsewhere/b", "c": "file:///x/mlruns/d"}
    for name, location in chosen.items():
        client.create_experiment(name, location)
    assert places.settle(project / "mlflow.db") == []


def test_another_way_to_the_same_folder_is_not_a_move(first: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(first)
    assert places.moves(tmp_path / "link" / "mlflow.db") == []
