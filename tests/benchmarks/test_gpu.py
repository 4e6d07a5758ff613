"""The GPU check, tried on the CPU, with what a borrowed machine has: torch and numpy alone."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import gpu
from rolekd import presets, yamlfiles
from rolekd.params import parse

ROOT = Path(__file__).parents[2]
# as if nothing of ours but torch and numpy were installed
BARE = """
import importlib.machinery, runpy, sys
hidden = {
    "click", "dvc", "jinja2", "matplotlib", "mlflow", "numba", "onnx", "onnxruntime", "optuna",
    "pandas", "pydantic", "rich", "ruamel", "safetensors", "scipy", "sklearn", "sqlalchemy",
}
finder = importlib.machinery.PathFinder
find = finder.find_spec
def spec(name, path=None, target=None):
    return None if name.split(".")[0] in hidden else find(name, path, target)
finder.find_spec = spec
sys.argv[0] = "gpu"
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


def _run(out, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", BARE, "--device", "cpu", "--small", "--out", out, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(Path(out).read_text()), done.stdout


def test_it_runs_on_a_bare_machine_and_does_no_part_twice(tmp_path):
    out = tmp_path / "gpu.json"
    found, _ = _run(out, "--only", "engine", "--only", "resumed")
    assert found["engine"]["equal"]
    assert found["resumed"]["equal"]
    assert not found["resumed"]["by_file"]
    again, told = _run(out, "--only", "engine", "--only", "paper")
    assert again["engine"] == found["engine"]
    assert "engine" not in told
    hours = again["paper"]["hours"]
    assert len(hours) == 4
    assert again["paper"]["hours_of_both_stages"] == round(sum(hours.values()), 2)
    assert "error" not in again["paper"]


def test_parts_that_the_time_is_too_short_for_are_left(tmp_path):
    out = tmp_path / "gpu.json"
    found = gpu.main(["--device", "cpu", "--small", "--out", str(out), "--seconds", "1"])
    assert found.keys() == {"machine"}


def test_its_settings_are_those_of_the_preset():
    values = yamlfiles.parse(presets.find("cifar100-paper").text, "the preset")
    params = parse(values, "the preset")
    for role in (params.teacher, params.student):
        training = role.training.model_dump()
        assert {key: training[key] for key in gpu._TRAINING} == gpu._TRAINING
    assert gpu.PAPER["loss"] == params.distill.loss
    assert gpu.PAPER["population"] == params.search.population
    assert gpu.PAPER["search_epochs"] == params.search.epochs
    assert gpu.PAPER["epochs"] == params.teacher.training.epochs
    student = vars(gpu._student(params.student.model.width))
    about = {**params.student.model_dump(exclude={"training"}), "model": None}
    assert {**student, "model": None} == about
    assert vars(gpu._distill("ii")) == {
        **params.distill.model_dump(), "prepare_epochs": 0,
    }  # fmt: skip
