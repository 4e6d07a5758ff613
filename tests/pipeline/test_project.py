"""What MLproject's entry points call, with DVC itself left out."""

import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pipelines import project
from rolekd.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def called(monkeypatch, tmp_path) -> list[list[str]]:
    """The calls of DVC in a folder with the default parameters."""
    calls: list[list[str]] = []

    def record(command, check):
        calls.append(command[3:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", record)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return calls


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("", "repro"),
        ("prepare --seed  --bits ", "repro prepare"),
        ("distill@kd --bits 4 --epochs ", "exp run --set-param=student.bits=4 distill@kd"),
        ("--search.population 16", "exp run --set-param=search.population=16"),
        ("--track.uri sqlite:///a.db", "exp run --set-param=track.uri=sqlite:///a.db"),
    ],
)
def test_only_what_is_given_is_set(called, words, command):
    done = CliRunner().invoke(project.main, words.split(" ") if words else [])
    assert done.exit_code == 0, done.output
    assert called == [command.split(" ")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--bits 33", "student.bits: input should be less than or equal to 8"),
        ("prepare --student.bots 4", "student.bots: unknown key; did you mean bits?"),
        ("--bits", "not a list of --KEY VALUE"),
        ("prepare bits 4", "not a list of --KEY VALUE"),
        ("--seed.number 4", "seed.number: seed is not a section"),
    ],
)
def test_what_params_yaml_would_not_take_never_reaches_dvc(called, words, message):
    before = Path("params.yaml").read_text()
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        CliRunner().invoke(project.main, words.split(" "), catch_exceptions=False)
    assert not called
    assert Path("params.yaml").read_text() == before


def test_every_stage_has_an_entry_point_and_its_parameters_are_used():
    entries = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    stages = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    called = set()
    for name, entry in entries.items():
        values = {key: f"<{key}>" for key in entry["parameters"]}
        command = entry["command"].format(**values)
        assert command.startswith("python -m pipelines.project")
        assert all(value in command for value in values.values()), name
        called.add(name)
    assert {"search" if name.startswith("search_") else name for name in stages} == called - {
        "main"
    }
