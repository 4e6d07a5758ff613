"""From a run to production and back, in one go, as a user would do it."""

import json

import numpy as np
import pytest
import servers
import yaml
from mlflow import MlflowClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

NAME = "rolekd-digits-student"
ROLEKD = ("python", "-c", "from rolekd.cli import main; main()")
# trained for an epoch, no student holds these; latency on a shared machine says nothing here
LENIENT = {
    "accuracy_least": 0.0,
    "teacher_points_lost": 100.0,
    "accuracy_points_lost": 100.0,
    "significance": 1e-9,
    "latency_ratio": 1000.0,
}


def test_from_run_to_production_and_back(fresh):
    client = MlflowClient(f"sqlite:///{fresh.folder}/mlflow.db")

    def champion() -> int:
        return int(client.get_model_version_by_alias(NAME, "champion").version)

    def exported() -> dict:
        return json.loads((fresh.folder / "outputs/export/metrics.json").read_text())

    fresh.set(promote=LENIENT)
    fresh.run("dvc", "repro")
    told = json.loads(fresh.run(*ROLEKD, "compare", "--json", "test@kd-shared", "test@plain"))
    assert all(0 <= value <= 1 for value in told["metrics"]["test_accuracy"])
    assert told["differences"]["arm"] == ["kd-shared", "plain"]

    fresh.run(*ROLEKD, "promote", "--why", "the first")
    assert champion() == 1
    served_classes_are_those_of_pytorch(fresh, f"models:/{NAME}@champion")

    # other bits, as an MLflow project
    fresh.run("mlflow", "run", ".", "-P", "bits=4", "--env-manager", "local")
    assert yaml.safe_load((fresh.folder / "params.yaml").read_text())["student"]["bits"] == 4
    second = client.get_model_version(NAME, "2")
    assert second.tags["weight_bits"] == "4"
    parent = client.get_run(second.run_id).data.tags["mlflow.parentRunId"]
    assert client.get_run(parent).data.tags["mlflow.source.type"] == "PROJECT"

    # with -P it is an experiment, which leaves the challenger alone
    assert int(client.get_model_version_by_alias(NAME, "challenger").version) == 1
    fresh.run(*ROLEKD, "register", "2")

    # a gate that only the larger file does not pass
    small = int(client.get_model_version(NAME, "1").tags["bytes"])
    assert small < exported()["bytes"]
    fresh.set(promote={"bytes": small})
    refused = fresh.run(*ROLEKD, "promote", code=1)
    assert "refused by 1 of 6 gates" in refused
    assert champion() == 1

    fresh.run("dvc", "exp", "run", "-S", "student.bits=2", "-S", "student.training.epochs=2")
    fresh.run(*ROLEKD, "register")  # what the work tree holds
    fresh.run(*ROLEKD, "promote", "--why", "longer trained")
    assert champion() == 3
    assert client.get_model_version(NAME, "3").tags["promotion.from"] == "1"
    fresh.run(*ROLEKD, "rollback", "--why", "users complain")
    assert champion() == 1
    assert client.get_model_version(NAME, "3").tags["rollback.why"] == "users complain"
    costs = fresh.run(*ROLEKD, "report", "--registry")
    assert "open it in a browser" in costs
    page = (fresh.folder / "report.html").read_text()
    assert all(text in page for text in ("version 1, 2 bits", "version 2, 4 bits"))


def served_classes_are_those_of_pytorch(project, address: str) -> None:
    data = project.folder / "outputs/data"
    images = np.load(data / "images.npy")[np.load(data / "test.npy")]
    with np.load(project.folder / "outputs/evaluate/predictions.npz") as arrays:
        expected = arrays["logits/kd-rolewise"][0].argmax(1)
    with servers.started(servers.mlflows, address, project.folder) as server:
        np.testing.assert_array_equal(servers.wait(server).classes(images), expected)


def test_mlflow_run_of_one_stage_with_other_bits(fresh):
    fresh.run("mlflow", "run", ".", "-e", "prepare", "--env-manager", "local")
    before = (fresh.folder / "params.yaml").read_text()
    run = ("mlflow", "run", ".", "--env-manager", "local", "-e", "distill")
    fresh.run(*run, "-P", "arm=plain", "-P", "bits=4")
    values = yaml.safe_load((fresh.folder / "params.yaml").read_text())
    assert values == {
        **yaml.safe_load(before),
        "student": {**yaml.safe_load(before)["student"], "bits": 4},
    }
    written = json.loads((fresh.folder / "outputs/runs/distill@plain.json").read_text())
    client = MlflowClient(f"sqlite:///{fresh.folder}/mlflow.db")
    made = client.get_run(written["mlflow_run_id"])
    assert made.data.params["student.bits"] == "4"
    assert "mlflow.parentRunId" in made.data.tags
    refused = fresh.run(*run, "-P", "bits=9", code=1)
    assert "student.bits: input should be less than or equal to 8" in refused
