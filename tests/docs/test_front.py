"""The files that a forge shows say what the package says."""

import tomllib
from pathlib import Path

import yaml

import rolekd
from rolekd.params import REPLACED

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
CHANGES = (ROOT / "CHANGELOG.md").read_text()


def test_the_citation_is_of_this_version_and_licence():
    assert CITATION["version"] == rolekd.__version__
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["type"] == "software"
    (paper,) = CITATION["references"]
    assert paper["identifiers"][0]["value"] in (ROOT / "README.md").read_text()


def test_the_newest_changes_are_of_this_version():
    newest = CHANGES.split("\n## ")[1]
    assert newest.startswith(f"{rolekd.__version__} ({CITATION['date-released']})")


def test_every_key_that_was_renamed_is_among_the_changes():
    for old, new in REPLACED.items():
        (row,) = [line for line in CHANGES.splitlines() if f"`{old}`" in line]
        assert f"`{new}`" in row or "kdsvd" in row
