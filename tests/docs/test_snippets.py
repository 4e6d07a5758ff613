"""README's snippets run as they stand; what makes them small is around them, not in them."""

import ast
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from projects import SMALL as SMALL_PROJECT
from projects import Project, make_project, merged
from small_runs import SMALL

import rolekd

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# of the preset: tiny networks, one epoch, two seeds, and few trainings in the searches' finals
TINY = {name: SMALL_PROJECT[name] for name in ("teacher", "student", "compare")} | {
    "search": {"confirm": {"rungs": [[6, 1], [2, 2]]}}
}


def snippet(title: str, kind: str) -> str:
    """Return the block of code below a heading."""
    found = re.findall(rf"^## {title}\n.*?^```{kind}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, title
    return found[0]


OWN_IMAGES = snippet("Your own images", "sh")
PYTHON = snippet("From Python", "python")


def photos(folder: Path) -> None:
    """Write 40 photos of each of two classes, which their colours distinguish."""
    generator = np.random.default_rng(0)
    for number, name in enumerate(("red door", "green door")):
        (folder / name).mkdir(parents=True)
        for index in range(40):
            pixels = generator.integers(0, 90, (20, 26, 3))
            pixels[..., number] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.jpg")


@pytest.fixture
def newcomer(tmp_path: Path, fresh_store: Path) -> Project:
    """A project as it is cloned, with .venv, and photos in the home of its user."""
    folder = tmp_path / "rolekd"
    folder.mkdir()
    project = make_project(folder, fresh_store)
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    project.run("git", "commit", "-qam", "the default run")
    preset = folder / "rolekd/presets/image-folder.yaml"
    head, body = preset.read_text().split("\n\n", 1)
    values = merged(yaml.safe_load(body), TINY)
    preset.write_text(f"{head}\n\n{yaml.safe_dump(values, sort_keys=False)}")
    (folder / ".venv/bin").mkdir(parents=True)
    path = f"export PATH={Path(sys.executable).parent}{os.pathsep}$PATH\n"
    (folder / ".venv/bin/activate").write_text(path)
    photos(project.home / "photos")
    return project


def test_the_page_is_short_and_its_picture_is_for_light_and_dark():
    assert len(README.splitlines()) < 150
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+\.svg)\)", README)
    assert "prefers-color-scheme: dark" in (ROOT / picture).read_text()


def test_snippets_are_as_short_as_the_page_says():
    assert len(OWN_IMAGES.splitlines()) == 5
    assert len([line for line in PYTHON.splitlines() if line]) == 10


def test_names_in_the_python_exist():
    for node in ast.walk(ast.parse(PYTHON)):
        match node:
            case ast.Attribute(value=ast.Name(id="rolekd"), attr=name):
                assert name in rolekd.__all__


@pytest.mark.timeout(600)
def test_the_python_runs(tmp_path, monkeypatch, capsys):
    preset = rolekd.Params.preset
    small = {**SMALL, "machine.workers": 1, "machine.device": "cpu"}
    monkeypatch.setattr(rolekd.Params, "preset", lambda name, keys: preset(name, small | keys))
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save("photo.png")
    names: dict[str, Any] = {}
    exec(PYTHON, names)
    assert names["student"].about["weight_bits"] == 4
    (found,) = rolekd.predict("student.onnx", ["photo.png"])
    assert found


@pytest.mark.timeout(300)
def test_the_lines_before_the_run_lead_to_parameters_and_images(newcomer):
    *lines, last = OWN_IMAGES.splitlines()
    assert last == "dvc repro"
    newcomer.run("bash", "-ec", "\n".join(lines))
    assert (newcomer.folder / "data/raw/photos.dvc").exists()
    newcomer.run("rolekd", "params")
    assert "Running stage 'prepare'" in newcomer.run("dvc", "repro", "prepare")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_lines_end_in_a_registered_model(newcomer):
    newcomer.run("bash", "-ec", OWN_IMAGES)
    assert (newcomer.folder / "outputs/register/version.json").exists()
