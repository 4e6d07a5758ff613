"""The Makefile, as far as it decides by itself; nothing is run but make."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SCRIPTS = ("VIRTUAL_ENV={}", 'VIRTUAL_ENV="{}"', "VIRTUAL_ENV='{}'", '    export VIRTUAL_ENV="{}"')


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout whose environment is ready."""
    folder = tmp_path / "a project"
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copyfile(ROOT / "Makefile", folder / "Makefile")
    for name in ("requirements.lock", "pyproject.toml", ".venv/ready"):
        (folder / name).touch()
    return folder


def make(project: Path, *arguments: str) -> str:
    # as if nobody had called `make test`, whose level and T are handed down
    own = ("MAKELEVEL", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "T")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    command = ["make", *arguments]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def planned(project: Path, *targets: str) -> str:
    return make(project, "--dry-run", *(targets or ["setup"]))


@pytest.mark.parametrize("line", SCRIPTS)
def test_an_environment_that_came_from_elsewhere_is_made_anew(project: Path, line: str) -> None:
    (project / ".venv/bin/activate").write_text(f"if\n{line.format(project / '.venv')}\nfi\n")
    assert "Nothing to be done" in planned(project)
    copied = project.with_name("copy")
    shutil.copytree(project, copied, copy_function=shutil.copy2)
    assert 'test -z "yes" || rm -rf .venv' in planned(copied)
    project.rename(project.with_name("moved"))
    assert "pip sync" in planned(project.with_name("moved"))


def test_help_names_every_task_on_lines_of_80_columns(project: Path) -> None:
    lines = make(project).splitlines()
    makefile = (project / "Makefile").read_text().splitlines()
    phony = next(line for line in makefile if line.startswith(".PHONY"))
    assert {line.split()[0] for line in lines} == set(phony.split()[1:])
    assert [line for line in lines if len(line) > 80 or len(line.split()) < 3] == []


def test_an_environment_that_does_not_tell_stays(project: Path) -> None:
    assert "Nothing to be done" in planned(project)


def test_tests_that_are_named_run_alone(project: Path) -> None:
    whole = planned(project, "test")
    assert "mypy" in whole and "-n 2" in whole
    few = planned(project, "test", "T=tests/search -k lineage")
    assert few.splitlines()[-1].endswith('-m "not slow and not kill" tests/search -k lineage')
    assert not any(word in few for word in ("ruff", "mypy", "lint-imports", "-n 2"))


def test_fix_lets_ruff_write(project: Path) -> None:
    lines = planned(project, "fix").splitlines()
    assert [line.removeprefix(".venv/bin/") for line in lines] == [
        "ruff check --fix .",
        "ruff format .",
    ]


def test_hooks_and_forge_call_what_people_call(project: Path) -> None:
    checks = planned(project, "check").splitlines()
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["entry"] for repo in hooks for hook in repo["hooks"]] == checks
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    assert [step["run"] for step in jobs["test"]["steps"] if "run" in step] == ["make test"]
    setup = (ROOT / "Makefile").read_text()
    for version in jobs["test"]["strategy"]["matrix"]["python"]:
        assert f"({version.replace('.', ', ')})" in setup
