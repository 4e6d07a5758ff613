"""Real processes and a real server: what a lost store and many writers cost."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import servers
from mlflow import MlflowClient
from track_models import linear_model

from rolekd import files
from rolekd.params import TrackParams
from rolekd.registry import versions
from rolekd.registry.evidence import Evidence
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


@pytest.fixture
def server(project: Path) -> Iterator[servers.Tracking]:
    running = servers.Tracking(project)
    yield running
    running.kill()


PROMOTER = """
import sys, time
from pathlib import Path
from rolekd.errors import RunError
from rolekd.registry import assessment, promotion
from rolekd.params import PromoteParams
assessment._SECONDS = 0.0
uri, version, gate = sys.argv[1:]
import mlflow
Path(gate, version).touch()
while len(list(Path(gate).iterdir())) < 3:
    time.sleep(0.001)
try:
    promotion.promote("student", PromoteParams(latency_ratio=1000.0), uri=uri, data=Path("none"),
                      version=int(version))
    print("won")
except RunError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("remote", [False, True], ids=["one file", "a server"])
def test_of_promotions_by_three_processes_one_wins_and_the_others_are_told(
    project: Path, remote: bool, request: pytest.FixtureRequest
) -> None:
    uri = request.getfixturevalue("server").uri if remote else f"sqlite:///{project}/mlflow.db"
    (project / "gate").mkdir()
    path = linear_model(project / "student.onnx")
    facts = evidence(files.sha256(path))
    for _ in range(3):
        with runs.start("register", experiment="e", track=TrackParams(uri=uri)) as run:
            image = np.zeros((1, 8, 8, 1), np.uint8)
            versions.register(
                path, name="student", run_id=run.run_id(), example=image,
                description=versions.Description(evidence=facts), uri=uri,
            )  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTER, uri, str(version), str(project / "gate")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for version in (1, 2, 3)
    ]
    told = [process.communicate(timeout=200)[0].strip() for process in processes]
    won = [version for version, text in enumerate(told, 1) if text == "won"]
    client = MlflowClient(uri)
    assert won == [int(client.get_model_version_by_alias("student", "champion").version)]
    lost = [text for text in told if text != "won"]
    assert all("another promotion" in text or "champion became" in text for text in lost), lost
    assert "promotion.lock" not in client.get_registered_model("student").tags


def evidence(sha256: str) -> Evidence:
    labels = tuple(range(10))
    return Evidence("d", labels, labels, 1.0, 10, 10, 1000, sha256, "kd-rolewise", (1.0,))


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
