"""MLflow's server killed in the middle of a real training, and back after a minute."""

import csv
import subprocess
import time

import pytest
import servers
from mlflow import MlflowClient
from projects import make_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OUTAGE = 60.0  # seconds
EPOCHS = 400


@pytest.fixture
def server(tmp_path):
    running = servers.Tracking(tmp_path)
    yield running
    running.kill()


def wait(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_training_continues_without_mlflow_and_no_number_is_lost(
    fresh_store, server, tmp_path, comes_back
):
    project = make_project(tmp_path / "project", fresh_store)
    project.environment["MLFLOW_TRACKING_URI"] = server.uri
    # long enough for the outage, where the server comes back
    epochs = EPOCHS if comes_back else 20
    project.set(teacher={"training": {"epochs": epochs}})
    project.run("dvc", "repro", "search_teacher")
    client = MlflowClient(server.uri)

    def curve():
        experiment = client.get_experiment_by_name("rolekd-digits")
        where = "attributes.run_name = 'train_teacher'"
        found = client.search_runs([experiment.experiment_id], where)
        return client.get_metric_history(found[0].info.run_id, "train_loss") if found else []

    command = ["python", "-m", "pipelines.train_teacher"]
    training = subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait(lambda: len(curve()) > 2)
    server.kill()
    gone = time.time()
    if comes_back:
        time.sleep(OUTAGE)
        back = time.time()
        assert training.poll() is None  # it outlived the outage
        server.start()
    told, _ = training.communicate(timeout=600)
    assert training.returncode == 0, told
    if not comes_back:
        assert "`rolekd sync`" in told
        server.start()
        project.run("python", "-c", "from rolekd.cli import main; main()", "sync")
    points = sorted(curve(), key=lambda point: point.step)
    assert [point.step for point in points] == list(range(epochs))  # all, none of them twice
    rows = list(
        csv.DictReader((project.folder / "outputs/train_teacher/searched/epochs.csv").open())
    )
    assert [point.value for point in points] == pytest.approx([float(row["loss"]) for row in rows])
    if comes_back:
        # the training did not wait for the server
        during = [point for point in points if gone < point.timestamp / 1000 < back]
        assert len(during) > 10
