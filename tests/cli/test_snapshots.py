"""Whole commands as people meet them: what they print, where, and how they end.

Each case is a file of `snapshots/`; `make snapshots` writes them anew, and git shows what changed.
"""

import os
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from rolekd import cli

FOLDER = Path(__file__).with_name("snapshots")
ROOT = Path(__file__).parents[2]
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))


def _commands(group: click.Group, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of a group, and of every command and group below it."""
    context = click.Context(group, **group.context_settings)
    found = [words]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        below = (*words, name)
        found += _commands(command, below) if isinstance(command, click.Group) else [below]
    return found


HELP = [shlex.join([*words, "--help"]) for words in _commands(cli.root)]
HELP = [line for line in HELP if not line.startswith("bench ")]  # of the checkout, not of the wheel
ERRORS = [
    "stauts",
    "compare",
    "models --registri",
    "params",
    "params --params wrong.yaml",
    "params --params older.yaml",
    "preset use nothing",
    "schedule show broken.json",
    "schedule show missing.json",
    "study missing.yaml --check",
    "search --role pupil",
    "worker --workers 0",
]
REPORTS = [
    "params --params good.yaml",
    "preset list",
    "schedule show two.json",
    "schedule compare two.json two.json",
    "status",
    "status --storage sqlite:///begun.db",
    "status --storage sqlite:///begun.db --json",
    "study small.yaml --check",
]
CASES = [*HELP, *ERRORS, *REPORTS]
FILES = {
    "good.yaml": "seed: 3\nstudent:\n  bits: 4\n",
    "wrong.yaml": "student:\n  bitz: 4\n  bits: 12\n",
    "older.yaml": "teacher:\n  training:\n    schedule: step\n",
    "broken.json": '{"version": 1}',
    "small.yaml": (
        "name: small\nquestion: Does teaching help?\nseeds: 2\nsearches: 2\n"
        "data: {digits: {preset: digits}}\n"
        "arms:\n  plain: {distilled: false, teacher: none, starts_from: scratch}\n"
        "  taught: {teacher: none}\n"
        "primary: {arm: taught, against: plain}\n"
    ),
}


@pytest.fixture
def folder(request, tmp_path, monkeypatch):
    from rolekd.augment.policy import Policy
    from rolekd.augment.schedule import Schedule

    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    policies = Policy([0] * 60), Policy([5, 3] * 30)
    Schedule(6, [(0, policies[0]), (3, policies[1])]).save(tmp_path / "two.json")
    monkeypatch.chdir(tmp_path)
    if "begun.db" in request.node.name:
        _begin_search("sqlite:///begun.db")
    for name in ("ROLEKD_STORAGE", "ROLEKD_ARTIFACTS", "FORCE_COLOR", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def _begin_search(storage: str) -> None:
    """Store a search of which one task is done and one has a worker that has ended."""
    from rolekd.fleet.studies import JobStudy
    from rolekd.fleet.tasks import Result
    from rolekd.params import SearchParams
    from rolekd.search.population import plan
    from rolekd.search.spec import SearchSpec

    settings = SearchParams(population=3, epochs=4, interval_epochs=2, confirm=None)
    spec = SearchSpec(0, "teacher", "member", settings, {}, {}, {}, 4)
    study = JobStudy.create(storage, spec, "search_teacher", 3)
    study.read()
    study.enqueue(plan(settings, 0, []))
    first = study.read().waiting()[0]
    study.claim(first, "elsewhere:22")
    study.finish(first, Result(first.task, first.number, 0.875, 100, 2.0, None))
    study.close()


def _name(line: str) -> str:
    return re.sub(r"[ /:]+", "-", line.replace(" --", "--")) + ".txt"


@pytest.mark.parametrize("line", CASES)
def test_a_command_says_what_it_said(line, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rolekd", *shlex.split(line)])
    code = cli.call(cli.root, "rolekd")
    said = capsys.readouterr()
    shown = f"$ rolekd {line}\n\n[stdout]\n{said.out}\n[stderr]\n{said.err}\n[exit code]\n{code}\n"
    lines = shown.replace(str(folder), "FOLDER").replace(str(ROOT), "ROOT").splitlines()
    shown = "\n".join(one.rstrip() for one in lines) + "\n"
    path = FOLDER / _name(line)
    if UPDATE:
        path.write_text(shown)
    assert shown == path.read_text(), "if it is meant: make snapshots"


def test_every_snapshot_is_of_a_case():
    assert {path.name for path in FOLDER.iterdir()} == {_name(line) for line in CASES}
