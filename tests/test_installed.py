"""An editable install, built without a network, and what finds the package by it."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rolekd.doctor import installation

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools import build_meta; build_meta.build_editable({!r})"
# neither this environment's packages nor its own editable install
IMPORT = """
import site, sys
sys.path.insert(0, "")
site.addsitedir({!r})
import rolekd
print(rolekd.__file__)
"""


def installed(folder: Path) -> Path:
    """Make a clone that is called rolekd, and a folder of packages with its editable install."""
    clone, packages = folder / "rolekd", folder / "packages"
    (clone / "rolekd").mkdir(parents=True)
    for name in ("pyproject.toml", "requirements.in", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, clone / name)
    for name in ("__init__.py", "telemetry.py"):
        shutil.copyfile(ROOT / "rolekd" / name, clone / "rolekd" / name)
    subprocess.run(
        [sys.executable, "-c", BUILD.format(str(folder))],
        cwd=clone, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return packages


def found(packages: Path, folder: Path) -> str:
    command = [sys.executable, "-I", "-S", "-c", IMPORT.format(str(packages))]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_package_is_found_from_the_folder_above_a_clone_of_its_name(tmp_path: Path) -> None:
    packages = installed(tmp_path)
    module = str(tmp_path / "rolekd/rolekd/__init__.py")
    (path,) = packages.glob("*.pth")
    assert path.read_text().strip() == str(tmp_path / "rolekd")
    assert found(packages, tmp_path) == module
    assert found(packages, tmp_path / "rolekd") == module
    assert found(packages, Path("/")) == module


@pytest.mark.parametrize(
    ("paths", "verdict"), [(str(ROOT), "ok"), ("", "note")], ids=["a path", "no path"]
)
def test_doctor_says_where_it_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: str, verdict: str
) -> None:
    root = tmp_path / "rolekd"
    root.mkdir()
    python = tmp_path / "python"  # of no packages but these
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{paths}" exec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    (finding,) = installation.environment_place(root)
    assert finding.verdict == verdict
    if verdict == "note":
        assert f"finds no package in {tmp_path}" in finding.found
        assert finding.remedy == "install it again: make setup"
