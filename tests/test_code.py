"""What decides numbers is in rolekd/code.py; dvc.yaml and the imports agree with it."""

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
        ("search_teacher", code.TEACHER_CODE + code.SEARCH_CODE),
        ("train_teacher", code.TEACHER_CODE),
        ("search_student", code.STUDENT_CODE + code.SEARCH_CODE),
        ("distill", code.STUDENT_CODE),
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
    decides = {Path(path).parts[0].removesuffix(".py") for path in code.STUDENT_CODE}
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
    assert code.version(code.TEACHER_CODE) != code.version(code.STUDENT_CODE)


# verbs and tables that mean in each module what its name says: `schedules.load`, `params.parse`
SAME_ROLE = {
    *("build", "check", "decode", "describe", "find", "has_width", "load", "names"),
    *("of", "parse", "plan", "prepare", "read", "read_task", "resolve", "run", "save"),
    "sentence",
    # an operation of augmentation, in the form that each engine needs
    *("augment", "auto_contrast", "blend", "color", "contrast", "equalize", "fill_region", "gray"),
    *("sample", "sharpness"),
    # what a package's modules have for its look-ups; what compiles, and with which options
    *("FUNCTIONS", "LOSSES", "MODULES", "MOST_BYTES", "OPTIONS", "SOURCES", "kernels"),
    # arrays and type variables
    *("Floats", "Images", "Integers", "T"),
}
# what each package has of its own; commands and stages have the names of what they call
SAME_STEM = {"attributes", "catalogue", "kernels", "observers", "predictor", "runner"}


def _modules() -> list[Path]:
    return [p for p in sorted((ROOT / "rolekd").rglob("*.py")) if p.name != "__init__.py"]


def _is_front(path: Path) -> bool:
    """Whether it is a command or a stage, which has the name of what it calls."""
    return path.parent.name in ("cli", "stages") or path.name == "facade.py"


def _public_names(path: Path) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AnnAssign) else []
        found |= {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def test_no_public_name_means_two_things():
    places: dict[str, list[str]] = {}
    for path in _modules():
        for name in _public_names(path):
            if not (_is_front(path) and name[0].islower()):
                places.setdefault(name, []).append(str(path.relative_to(ROOT)))
    twice = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert not {name: paths for name, paths in twice.items() if name not in SAME_ROLE}
    assert twice.keys() >= SAME_ROLE


def test_no_module_has_the_name_of_another_of_another_role():
    places: dict[str, list[str]] = {}
    for path in _modules():
        if not _is_front(path):
            places.setdefault(path.stem, []).append(str(path.relative_to(ROOT)))
    twice = {stem: paths for stem, paths in places.items() if len(paths) > 1}
    assert not {stem: paths for stem, paths in twice.items() if stem not in SAME_STEM}
    assert twice.keys() >= SAME_STEM
