"""The Makefile, as far as it decides by itself; nothing is run but make."""

import shutil
import subprocess
from pathlib import Path

import pytest

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


def planned(project: Path) -> str:
    command = ["make", "--dry-run", "setup"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("line", SCRIPTS)
def test_an_environment_that_came_from_elsewhere_is_made_anew(project: Path, line: str) -> None:
    (project / ".venv/bin/activate").write_text(f"if\n{line.format(project / '.venv')}\nfi\n")
    assert "Nothing to be done" in planned(project)
    copied = project.with_name("copy")
    shutil.copytree(project, copied, copy_function=shutil.copy2)
    assert 'test -z "yes" || rm -rf .venv' in planned(copied)
    project.rename(project.with_name("moved"))
    assert "pip sync" in planned(project.with_name("moved"))


def test_an_environment_that_does_not_tell_stays(project: Path) -> None:
    assert "Nothing to be done" in planned(project)
