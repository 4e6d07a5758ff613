import json
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from onnx_models import linear_model

from rolekd import files
from rolekd.errors import InputError, RunError
from rolekd.registry import versions
from rolekd.track import runs
from rolekd.track.client import tracking

NAME = "rolekd-digits-student"


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)


def register(path: Path, images: NDArray[np.uint8], **more: str) -> versions.Version:
    with runs.start("register", experiment="rolekd-digits") as run:
        run.log_dataset("digits", "ab12", context="test", source="x", profile={})
        return versions.register(
            path,
            name=NAME,
            run_id=run.run_id(),
            example=images[:2],
            description=versions.Description(
                tags={"bits": 2, "data": "ab12", "token": "hidden"},
                metrics={"test_accuracy": 0.875},
                params={"bits": 2},
                card="# Card",
                dataset=("digits", "ab12"),
                model="Ten digits.",
            ),
            **more,
        )


def test_registered_version_predicts_as_the_graph_does(
    project: Path, images: NDArray[np.uint8]
) -> None:
    path = linear_model(project / "student.onnx")
    version = register(path, images)
    assert not mlflow.tracking.is_tracking_uri_set()
    assert mlflow.active_run() is None
    assert version.uri == f"models:/{NAME}/1"
    with tracking(f"sqlite:///{project}/mlflow.db"):
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@challenger")
        predicted = model.predict({"image": images})
        assert model.metadata.metadata["classes"][9] == "digit 9"
        with pytest.raises(mlflow.MlflowException):
            model.predict({"image": images[:, :4]})
        with pytest.raises(mlflow.MlflowException):
            model.predict({"image": images.astype(np.float32)})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits, probabilities = session.run(None, {"image": images})
    np.testing.assert_array_equal(predicted["logits"], logits)
    np.testing.assert_array_equal(predicted["probabilities"], probabilities)


def test_version_leads_to_run_model_and_evidence(
    project: Path, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = linear_model(project / "student.onnx")
    (temporary := project / "feature%2Fx? y").mkdir()  # as build servers name folders
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    first, second = register(path, images), register(path, images)
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    assert (first.number, second.number) == (1, 2)
    assert client.get_model_version_by_alias(NAME, "challenger").version == 2
    version = client.get_model_version(NAME, "1")
    assert version.tags["bits"] == "2"
    assert version.tags["token"] == "***"
    assert version.tags["sha256"] == files.sha256(path)
    run = client.get_run(version.run_id)
    assert run.info.run_name == "register"
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"test_accuracy": 0.875}
    model = client.get_logged_model(version.tags["model_id"])
    assert [(metric.key, metric.value) for metric in model.metrics] == [("test_accuracy", 0.875)]
    assert model.params == {"bits": "2"}
    assert run.outputs.model_outputs[0].model_id == model.model_id
    folder = Path(model.artifact_location.removeprefix("file://"))
    assert len(list(folder.rglob("*.onnx*"))) == 1
    assert not list(folder.rglob("*.pkl"))
    assert (folder / "extra_files/MODEL_CARD.md").read_text() == "# Card"
    assert version.description == "# Card"
    example = json.loads((folder / "input_example.json").read_text())
    assert np.shape(example["image"]) == (2, 8, 8, 1)


def test_graph_with_another_input_is_refused(project: Path, images: NDArray[np.uint8]) -> None:
    path = linear_model(project / "student.onnx", TensorProto.FLOAT)
    with pytest.raises(InputError, match=r"student\.onnx: its input is not uint8 \[N, 8, 8, 1\]"):
        register(path, images)
    with pytest.raises(InputError, match=r"uint8 \[N, 8, 8, 3\]"):
        register(linear_model(path), images.repeat(3, axis=3))


def test_store_without_the_run(project: Path, images: NDArray[np.uint8]) -> None:
    path = linear_model(project / "student.onnx")
    with pytest.raises(RunError, match="rolekd sync"):
        versions.register(path, name=NAME, run_id=None, example=images)
    with pytest.raises(RunError, match="MLflow at sqlite"):
        versions.register(path, name=NAME, run_id="f" * 32, example=images)


def test_an_experiment_leaves_the_challenger_alone_until_it_is_chosen(
    project: Path, images: NDArray[np.uint8]
) -> None:
    path, uri = linear_model(project / "student.onnx"), f"sqlite:///{project}/mlflow.db"
    register(path, images)
    second = linear_model(project / "other.onnx")
    second.write_bytes(second.read_bytes() + b"\x22\x00")  # an empty model version: another file
    register(second, images, alias=versions.alias_of("proud-cat"))
    client = mlflow.MlflowClient(uri)

    def aliases() -> dict[str, int]:
        found = client.get_registered_model(NAME).aliases
        return {alias: int(number) for alias, number in found.items()}

    assert aliases() == {"challenger": 1, "proud-cat": 2}
    assert versions.is_file(NAME, 1, path, uri)
    assert not versions.is_file(NAME, 2, path, uri)
    assert versions.make_challenger(NAME, "proud-cat", uri) == 2
    assert aliases() == {"challenger": 2, "proud-cat": 2}
    assert versions.make_challenger(NAME, "1", uri) == 1
    for unknown in ("shy-dog", "3"):
        with pytest.raises(InputError, match=f"no version '{unknown}'.*proud-cat"):
            versions.make_challenger(NAME, unknown, uri)
    assert aliases()["challenger"] == 1


@pytest.mark.parametrize(
    ("experiment", "alias"),
    [
        (None, "challenger"),
        ("proud-cat", "proud-cat"),
        ("bits=4.x", "bits-4-x"),
        ("champion", "exp-champion"),
        ("v2", "exp-v2"),
        ("Latest", "exp-Latest"),
    ],
)
def test_alias_of_an_experiment(experiment: str | None, alias: str) -> None:
    assert versions.alias_of(experiment) == alias


def test_the_registered_model_says_what_it_is(project: Path, images: NDArray[np.uint8]) -> None:
    register(linear_model(project / "student.onnx"), images)
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    model = client.get_registered_model(NAME)
    assert (model.description, model.tags["task"]) == ("Ten digits.", versions.TASK)
    version = client.get_model_version(NAME, "1")
    (metric,) = client.get_logged_model(version.tags["model_id"]).metrics
    assert (metric.dataset_name, metric.dataset_digest) == ("digits", "ab12")
