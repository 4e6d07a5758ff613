"""Real processes and a real server: what a lost store and many writers cost."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import servers
from mlflow import MlflowClient

from rolekd.params import TrackParams
from rolekd.track import runs, store
from rolekd.track.sync import sync

WRITER = """
import sys
from rolekd.track import runs
with runs.start("train", experiment="e", variant=sys.argv[1]) as run:
    for epoch in range(int(sys.argv[2])):
        run.epoch({f"m{number}": float(epoch) for number in range(5)}, epoch)
"""


def points(uri: str, name: str, key: str) -> list[tuple[int, float]]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("e")
    found = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
    assert len(found) == 1
    assert found[0].info.status == "FINISHED"
    history = client.get_metric_history(found[0].info.run_id, key)
    return sorted((point.step, point.value) for point in history)


def test_four_processes_and_ten_thousand_metrics(project: Path) -> None:
    epochs = 500
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(number), str(epochs)])
        for number in range(4)
    ]
    assert [writer.wait(timeout=240) for writer in writers] == [0] * 4
    uri = f"sqlite:///{project}/mlflow.db"
    sync(store.spool_folder(project), uri)  # a writer that met a busy database may have given up
    for writer in range(4):
        for number in range(5):
            wanted = [(epoch, float(epoch)) for epoch in range(epochs)]
            assert points(uri, f"train@{writer}", f"m{number}") == wanted


@pytest.mark.slow
def test_server_that_is_killed_and_comes_back(
    server: servers.Tracking, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rolekd.track.sender._SECONDS_BETWEEN_TRIES", 1.0)
    with runs.start("train", experiment="e", track=TrackParams(uri=server.uri)) as run:
        run.epoch({"loss": 0.0}, 0)
        assert run.run_id()
        server.kill()
        for epoch in range(1, 50):
            run.epoch({"loss": float(epoch)}, epoch)
            time.sleep(0.05)
        server.start()
        (tmp_path / "a.txt").write_text("a")
        run.log_artifact(tmp_path / "a.txt")
    wanted = [(epoch, float(epoch)) for epoch in range(50)]
    assert points(server.uri, "train", "loss") == wanted
    assert list((tmp_path / "mlartifacts").rglob("a.txt"))


@pytest.mark.slow
def test_server_that_never_comes_back(
    server: servers.Tracking, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with runs.start("train", experiment="e", track=TrackParams(uri=server.uri)) as run:
        assert run.run_id()
        server.kill()
        for epoch in range(50):
            run.epoch({"loss": float(epoch)}, epoch)
    assert "`rolekd sync`" in caplog.text
    server.start()
    sync(store.spool_folder(project), server.uri)
    assert len(points(server.uri, "train", "loss")) == 50
