"""What decides numbers stands in rolekd/code.py; dvc.yaml and the imports agree with it."""

import ast
from pathlib import Path

import pytest
import yaml

from rolekd import code
from rolekd.params import Params

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# decide no result, so no stage depends on them
UNTRACKED = {"machine", "promote", "track"}


def _stage(name: str) -> dict:
    return STAGES[name].get("do", STAGES[name])


def _code(name: str) -> set[str]:
    """Return what a stage depends on below rolekd/, but for its own body."""
    paths = {dep for dep in _stage(name)["deps"] if dep.startswith("rolekd/")}
    return {path.removeprefix("rolekd/") for path in paths if "/stages/" not in path}


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("search_teacher", code.TEACHER + code.SEARCH),
        ("train_teacher", code.TEACHER),
        ("search_student", code.STUDENT + code.SEARCH),
        ("distill", code.STUDENT),
    ],
)
def test_a_training_depends_on_what_decides_its_numbers_and_on_nothing_else(stage, expected):
    assert _code(stage) == set(expected)


def test_every_parameter_is_tracked_by_a_stage_or_decides_nothing():
    tracked = {key.split(".")[0] for name in STAGES for key in _stage(name).get("params", [])}
    assert set(Params.model_fields) - tracked == UNTRACKED
    # a section is tracked whole, but for the rows of the arms and what is done with them
    parts = {key for name in STAGES for key in _stage(name).get("params", []) if "." in key}
    assert all(key.startswith("compare.") for key in parts)


def test_what_decides_numbers_imports_nothing_that_does_not():
    """Else a change elsewhere could change a training without making it stale."""
    base = {"params", "files", "errors", "plugins", "processes", "secrets", "parallel", "seeds"}
    base |= {"jit"}  # how something is compiled, not what
    decides = {Path(path).parts[0].removesuffix(".py") for path in code.STUDENT}
    for part in sorted(decides - base):
        for path in (ROOT / "rolekd" / part).rglob("*.py"):
            found = {
                name.split(".")[1]
                for node in ast.walk(ast.parse(path.read_text()))
                for name in _imported(node)
                if name.startswith("rolekd.")
            }
            assert found <= decides | base, path


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom) and node.module == "rolekd":
        return [f"rolekd.{alias.name}" for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_the_version_follows_the_code(tmp_path):
    assert code.version() == code.version()
    assert code.version(code.TEACHER) != code.version(code.STUDENT)
