"""Usage data: the package sets the switches, their copies are complete, libraries read them."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rolekd.telemetry import OFF

ROOT = Path(__file__).parents[1]
# switch -> a file of the library that reads it
READ = {
    "ORT_DISABLE_TELEMETRY": ("onnxruntime", "capi/onnxruntime_pybind11_state*.so"),
    "MLFLOW_DISABLE_TELEMETRY": ("mlflow", "environment_variables.py"),
    "DO_NOT_TRACK": ("mlflow", "telemetry/utils.py"),
    "DVC_NO_ANALYTICS": ("dvc", "env.py"),
    "ITERATIVE_DO_NOT_TRACK": ("iterative_telemetry", "__init__.py"),
}


def python(code: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in OFF}
    command = [sys.executable, "-c", code]
    return subprocess.check_output(command, env=clean | environment, text=True)


def test_the_package_sets_every_switch_and_keeps_those_of_the_user() -> None:
    code = "import rolekd, os, json; print(json.dumps(dict(os.environ)))"
    told = json.loads(python(code, DO_NOT_TRACK="false"))
    assert {name: told[name] for name in OFF} == OFF | {"DO_NOT_TRACK": "false"}


def test_the_copies_of_the_list_are_complete() -> None:
    exported = re.findall(r"^export (\w+) := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {name: value for name, value in exported if name in OFF} == OFF
    page = (ROOT / "docs/serve.md").read_text()
    assert {name: value for name, value in re.findall(r"(\w+)=(\w+)", page) if name in OFF} == OFF
    container = next(line for line in page.splitlines() if "image/Dockerfile" in line)
    for name in ("ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY"):  # what it holds of these
        assert f"{name}={OFF[name]}" in container


@pytest.mark.parametrize("name", list(READ))
def test_the_library_still_reads_its_switch(name: str) -> None:
    library, pattern = READ[name]
    found = importlib.util.find_spec(library)
    assert found is not None
    files = list(Path(found.submodule_search_locations[0]).glob(pattern))
    assert any(name.encode() in file.read_bytes() for file in files)


def test_onnxruntime_writes_nothing_below_home(tmp_path: Path) -> None:
    code = """
import rolekd, onnx, onnxruntime
from onnx import TensorProto, helper
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "g", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
session = onnxruntime.InferenceSession(model.SerializeToString())
print(session.run(None, {"a": __import__("numpy").ones(1, "float32")})[0])
"""
    assert python(code, HOME=str(tmp_path)) == "[1.]\n"
    assert list(tmp_path.rglob("*")) == []
