"""Registered versions are opened as what was registered, and run nothing that they name."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from onnx_models import linear_model

from rolekd import files
from rolekd.cli.predict import predict
from rolekd.cli.registry import promote
from rolekd.cli.serve import serve
from rolekd.errors import InputError
from rolekd.params import TrackParams
from rolekd.registry import fetch, serving, versions
from rolekd.registry.evidence import Evidence
from rolekd.track import runs

NAME = "rolekd-digits-student"
ADDRESS = f"models:/{NAME}@challenger"


def register(path: Path, uri: str) -> None:
    with runs.start("register", experiment="rolekd-digits", track=TrackParams(uri=uri)) as run:
        versions.register(
            path,
            name=NAME,
            run_id=run.run_id(),
            example=np.zeros((1, 8, 8, 1), np.uint8),
            description=versions.Description(
                evidence=Evidence("d", (1,), (1,), 1.0, 1, 1, 1, files.sha256(path), "kd", (1.0,))
            ),
            uri=uri,
        )


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, fresh_store: Path) -> Path:
    """A project with a registered version."""
    folder = tmp_path_factory.mktemp("registered")
    shutil.copyfile(fresh_store, folder / "mlflow.db")
    (folder / "params.yaml").write_text("{}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        register(linear_model(folder / "student.onnx"), f"sqlite:///{folder}/mlflow.db")
    return folder


@pytest.fixture
def artifacts(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the version in the artifact store; as it was, after the test."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(registered)
    (description,) = registered.glob("mlruns/**/MLmodel")
    shutil.copytree(description.parent, tmp_path / "whole")
    yield description.parent
    shutil.rmtree(description.parent)
    shutil.copytree(tmp_path / "whole", description.parent)


@pytest.fixture
def ran(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the code of a version writes when it is imported."""
    marker = artifacts / "ran"
    module = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\ndef _load_pyfunc(_): pass\n"
    (artifacts / "code").mkdir()
    (artifacts / "code" / "foreign.py").write_text(module)
    monkeypatch.setattr(sys, "path", [*sys.path])  # MLflow would add to it
    return marker


def edited(key: str, **entries: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["flavors"][key].update(entries)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "loader": edited("python_function", loader_module="foreign", code="code"),
    "loader alone": edited("python_function", loader_module="os"),
    "code": edited("python_function", code="code"),
    "code of the flavor": edited("onnx", code="code"),
    "file": edited("python_function", data="other.onnx"),
    "file of the flavor": edited("onnx", data="other.onnx"),
    "path": edited("onnx", data="../../model.onnx"),
    "flavor": lambda content: content["flavors"].update(sklearn={"pickled_model": "m.pkl"}),
    "no flavors": lambda content: content.pop("flavors"),
    "flavors as a list": lambda content: content.update(flavors=["onnx", "python_function"]),
    "entries as a list": lambda content: content["flavors"].update(onnx=[1]),
}
CONTENTS = {
    "nothing": b"",
    "a list": b"- 1\n",
    "an object": b"!!python/object/apply:os.system ['touch ran']\n",
    "aliases": b"a: &a [1, 1]\nflavors: [*a, *a]\n",
    "not YAML": b"flavors: {",
    "not text": b"\xff\x00\x01",
    "deep": b"[" * 60_000,
    "deep blocks": b"- " * 30_000,
    "large": b"#" * 2**20 + b"\n" + b"a: 1\n",
}


def refuses(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """Whoever opens the version says so in a line, and neither predicts, serves nor promotes."""
    monkeypatch.setattr(serving, "serve", lambda *_: pytest.fail("it is served"))
    for command, arguments, name in (
        (predict, ["--model", ADDRESS, "params.yaml"], ADDRESS),
        (serve, ["--model", ADDRESS], ADDRESS),
        (promote, [], "promote: version 1"),
    ):
        result = CliRunner().invoke(command, arguments)
        assert isinstance(result.exception, InputError), result.output
        message = str(result.exception)
        assert message.startswith(f"{name}: its {words}"), message
        assert "\n" not in message
        assert "again" in message


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_version_names_is_neither_imported_nor_run(
    artifacts: Path, ran: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    linear_model(artifacts / "other.onnx", seed=1)
    path = artifacts / "MLmodel"
    content = yaml.safe_load(path.read_text())
    CHANGES[change](content)
    path.write_text(yaml.safe_dump(content))
    refuses(monkeypatch, "MLmodel")
    assert not ran.exists()
    assert "foreign" not in sys.modules


@pytest.mark.parametrize("content", CONTENTS)
def test_a_description_that_cannot_be_read(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (artifacts / "MLmodel").write_bytes(CONTENTS[content])
    refuses(monkeypatch, "MLmodel")
    assert not Path("ran").exists()


def test_a_version_without_its_description(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (artifacts / "MLmodel").unlink()
    refuses(monkeypatch, "MLmodel")


def test_another_network_in_the_place_of_the_registered_one(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one of ours, whole, and has the hash that it carries."""
    linear_model(artifacts / "model.onnx", seed=1)
    refuses(monkeypatch, "hash is not")


def test_a_version_without_its_network(artifacts: Path) -> None:
    (artifacts / "model.onnx").unlink()
    result = CliRunner().invoke(predict, ["--model", ADDRESS, "params.yaml"])
    assert str(result.exception).startswith(f"{ADDRESS}: model.onnx is not among its files")


@pytest.mark.parametrize("store", ["registered", "project"])
@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        (f"models:/{NAME}@champion", "has no champion; make one with `rolekd promote`"),
        (f"models:/{NAME}@nobody", "no such version is registered; `rolekd models --registry`"),
        (f"models:/{NAME}/7", "no such version is registered; `rolekd models --registry`"),
        ("models:/nothing/1", "no such version is registered; `rolekd models --registry`"),
        ("models:/no:thing/1", "no such version is registered; `rolekd models --registry`"),
        (f"models:/{NAME}/{10**30}", "not the address of a registered model"),
    ],
)
def test_a_version_that_is_not_registered(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    store: str,
    address: str,
    remedy: str,
) -> None:
    monkeypatch.chdir(request.getfixturevalue(store))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Path("params.yaml").write_text("{}\n")
    for command, more in ((predict, ["params.yaml"]), (serve, [])):
        result = CliRunner().invoke(command, ["--model", address, *more])
        assert isinstance(result.exception, InputError), result.output
        assert address in str(result.exception)
        assert remedy in str(result.exception)
        assert "\n" not in str(result.exception)


def test_a_network_that_another_program_registered(artifacts: Path, tmp_path: Path) -> None:
    """Its version has no tag with a hash."""
    uri = f"sqlite:///{Path.cwd()}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    sha256 = client.get_model_version(NAME, "1").tags["sha256"]
    client.delete_model_version_tag(NAME, "1", "sha256")
    try:
        fetched = fetch.fetch(NAME, "1", tmp_path / "fetched", uri)
    finally:
        client.set_model_version_tag(NAME, "1", "sha256", sha256)
    assert fetched.sha256 == files.sha256(artifacts / "model.onnx")
    assert fetched.open().metadata["classes"]


def test_the_version_of_the_store_that_is_named(
    registered: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the one of the same name in the store of the current folder."""
    register(linear_model(project / "student.onnx", seed=1), f"sqlite:///{project}/mlflow.db")
    uri = f"sqlite:///{registered}/mlflow.db"
    found = fetch.fetch(NAME, "@challenger", project / "fetched", uri)
    assert found.sha256 == files.sha256(registered / "student.onnx")
    assert files.sha256(found.graph) == found.sha256
