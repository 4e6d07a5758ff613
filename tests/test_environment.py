"""Foreign interpreters and modules that hide others: one line that names their place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rolekd import environment

ROOT = Path(__file__).parents[1]


def run(folder: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Start a stage with `folder` as current one, where the project's code is not."""
    given = {"PYTHONPATH": str(ROOT), **more}
    return subprocess.run(
        [sys.executable, *options, "-m", "pipelines.plan"],
        cwd=folder,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["numpy.py", "numpy/__init__.py", "queue.py"])
def test_what_hides_a_module_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    done = run(tmp_path)
    assert done.returncode == 2
    module = name.partition("/")[0].partition(".")[0]
    assert done.stderr.startswith(f"error: {tmp_path / name}: hides the module {module} of /")
    assert done.stderr.count("\n") == 1


def test_a_python_without_our_modules_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "-S")  # none of what was installed
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {sys.executable}: has no module click; activate the")
    assert done.stderr.count("\n") == 1


def test_a_module_elsewhere_that_is_another_one_is_named(tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    (other / "click.py").write_text("")
    done = run(tmp_path, PYTHONPATH=f"{other}:{ROOT}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {other / 'click.py'}: is not the right module")
    assert done.stderr.count("\n") == 1


def test_a_user_without_a_home_has_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    environment.give_home()
    assert os.environ["HOME"] == "/somewhere"

    def fail(_: int) -> None:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", fail)
    environment.give_home()
    assert Path.home() == Path("/")


def test_folders_and_files_of_a_project_hide_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data", "numpy"):  # no modules
        (tmp_path / name).mkdir()
    ours = {"tests", *(path.parent.name for path in ROOT.glob("*/__init__.py"))}
    assert {"rolekd", "pipelines", "benchmarks", "docs"} <= ours
    for name in ours:  # some packages install their tests or docs
        for place in (tmp_path, tmp_path / "installed"):
            (place / name).mkdir(parents=True)
            (place / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    (tmp_path / "my_network.py").touch()
    monkeypatch.chdir(tmp_path)
    assert environment.problem_of(["", *sys.path]) == ""
    monkeypatch.chdir(ROOT)
    assert environment.problem_of(["", *sys.path]) == ""
