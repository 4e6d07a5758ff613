"""`rolekd study` on the command line: what it would do, how far it is, faults in one line."""

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

from rolekd import yamlfiles
from rolekd.cli import root
from rolekd.errors import InputError
from rolekd.evidence.records import Records
from rolekd.evidence.trainings import Measured, TrainingSpec

STUDY = {
    "name": "small",
    "question": "Does it help?",
    "seeds": 2,
    "data": {"digits": {}},
    "arms": {
        "plain": {"distilled": False, "starts_from": "scratch"},
        "kd": {"teacher": "none"},
    },
    "primary": {"arm": "kd", "against": "plain"},
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(yamlfiles.dump(STUDY))
    return path


def _run(*arguments):
    return CliRunner().invoke(root, ["study", *map(str, arguments)], catch_exceptions=False)


def test_what_it_would_do_is_said_without_doing_it(file, tmp_path):
    said = _run(file, "--check").output
    assert "small: Does it help?" in said
    assert "digits: 4 cells of 2 arms" in said
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--arm", "plane"), "--arm plane: did you mean plain?"),
        (("--data", "digit"), "--data digit: did you mean digits?"),
    ],
)
def test_a_part_that_is_none_is_named(file, option, message):
    with pytest.raises(InputError, match=re.escape(message)):
        _run(file, *option)


def test_how_far_it_is_and_what_is_there(file):
    records = Records.open(file)
    training = TrainingSpec("data", "student", {}, {"name": "none", "schedule": None})
    for seed in range(2):
        measured = Measured(0.75, 1.0, 0.1, {}, [1.0, 0.5], "4A==", 4, 3600.0, 10, "a machine")
        cell = next(cell for cell in records.cells if (cell.arm, cell.seed) == ("plain", seed))
        records.add([cell], training, measured, {"params": "p", "code": "c"})
    found = json.loads(_run(file, "--show", "--json").output)
    assert found["data"][0] | {"seconds_left": 0} == {
        "name": "digits", "cells": 4, "done": 2, "failed": 0, "searches": 0, "seconds_left": 0,
    }  # fmt: skip
    assert found["data"][0]["seconds_left"] > 0
    assert "digits" in _run(file, "--show").output
    status = CliRunner().invoke(root, ["status"], catch_exceptions=False).output
    assert "2 of 4 cells done" in status
    tables = [line.split(": ")[1] for line in _run(file, "--tables").output.splitlines()]
    assert [line.rsplit("/")[-1] for line in tables] == ["tables.md"]
    assert "| 2-bit" not in (records.folder / "tables.md").read_text()
    assert "| plain | 75.0 (" in (records.folder / "tables.md").read_text()


def test_parts_are_put_between_the_marks_of_a_page(file, tmp_path):
    records = Records.open(file)
    training = TrainingSpec("data", "student", {}, {"name": "none", "schedule": None})
    for arm, right in (("plain", "gA=="), ("kd", "4A==")):
        for seed in range(2):
            measured = Measured(0.25, 1.0, 0.1, {}, [], right, 4, 1.0, 10, "a machine")
            cell = next(cell for cell in records.cells if (cell.arm, cell.seed) == (arm, seed))
            own = replace(training, distilled=arm == "kd", seed=seed)
            records.add([cell], own, measured, {"params": "p", "code": "c"})
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text(
        "before\n<!-- study small table -->\nold\n<!-- /study -->\nbetween\n"
        "<!-- study small figure -->\n<!-- /study -->\nafter\n"
    )
    assert "2 parts written" in _run(file, "--into", page).output
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| kd | 75.0 (" in text
    folder = f"../results/records/{records.folder.name}"
    assert f'src="{folder}/differences-light.svg"' in text
    assert (records.folder / "differences-dark.svg").exists()
    assert "2 parts written" in _run(file, "--into", page).output
    assert page.read_text() == text
    page.write_text("no marks")
    with pytest.raises(InputError, match="has no <!-- study small PART -->"):
        _run(file, "--into", page)
    page.write_text("<!-- study small tabel -->\n<!-- /study -->\n")
    with pytest.raises(InputError, match="did you mean table"):
        _run(file, "--into", page)
