"""`rolekd bench` finds the benchmarks of a checkout from any folder, and misses them elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[2]


def bench(library: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Call the command of the library that is in a folder."""
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from rolekd.cli import main; main()"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", code, str(library), "bench", *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_checkout_has_them_whatever_the_folder(tmp_path: Path) -> None:
    done = bench(ROOT, tmp_path, "augment", "--help")
    assert done.returncode == 0, done.stderr
    assert "Policy engine against Pillow and torchvision." in done.stdout
    names = bench(ROOT, tmp_path, "--help").stdout.split("Commands:")[1].split()
    assert {"augment", "data", "infer", "search", "step"} <= set(names)


@pytest.mark.parametrize("words", [(), ("--help",), ("augment", "--json")])
def test_an_installed_library_says_that_it_has_none(words: tuple[str, ...], tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    shutil.copytree(
        ROOT / "rolekd", installed / "rolekd", ignore=shutil.ignore_patterns("__pycache__")
    )
    done = bench(installed, tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"bench: {installed} does not have the benchmarks" in done.stderr
    assert "run it in a checkout" in done.stderr


def test_a_commit_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    done = bench(ROOT, tmp_path, "step", "--against", "no-such-commit")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "--against no-such-commit: no such commit" in done.stderr


def test_the_wheel_leaves_them_out() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = find_packages(str(ROOT), include=settings["packages"]["find"]["include"])
    assert {name.partition(".")[0] for name in packages} == {"rolekd"}
