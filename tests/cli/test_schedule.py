"""`rolekd schedule`, end to end in one process."""

import json

import pytest
from click.testing import CliRunner, Result

from rolekd.augment import schedule as schedules
from rolekd.augment.policy import LENGTH, Policy
from rolekd.augment.schedule import Schedule
from rolekd.cli.schedule import schedule
from rolekd.errors import InputError


def policy(**changed: int) -> Policy:
    values = [1] * LENGTH
    for key, value in changed.items():
        values[int(key[1:])] = value
    return Policy(values)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Schedule(20, [(0, Policy.zeros()), (8, policy())]).save("a.json")
    Schedule(20, [(0, Policy.zeros()), (8, policy(i6=5)), (14, policy(i6=5, i59=0))]).save("b.json")
    return tmp_path


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(schedule, arguments)
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


def test_import(folder):
    config = [{"hp_policy": [0] * 60}, {"hp_policy": [2] * 60}]
    (folder / "log").write_text(repr(["1", "0", 4, 5, *config]) + "\n")
    assert "2 policies over 30 epochs" in run("import", "log", "new.json", "--epochs", "30").output
    assert schedules.load("new.json").segments[1] == (5, Policy([2] * 60))


def test_nothing_is_written_for_a_damaged_log(folder):
    (folder / "log").write_text("[1, 2, 3]\n")
    with pytest.raises(InputError, match="log: line 1"):
        run("import", "log", "new.json", "--epochs", "30")
    assert not (folder / "new.json").exists()


def test_show(folder):
    output = run("show", "b.json").output
    assert "20 epochs" in output
    assert "14-19" in output
    brightness = next(line for line in output.splitlines() if "Brightness" in line)
    assert "5 x 1" in brightness
    assert json.loads(run("show", "b.json", "--json").output)["epochs"] == 20


def test_compare(folder):
    output = run("compare", "a.json", "b.json").output.splitlines()
    assert output == [
        "epochs 8 to 13:",
        "  probability of Brightness, copy 1: 1 -> 5",
        "epochs 14 to 19:",
        "  probability of Brightness, copy 1: 1 -> 5",
        "  magnitude of Contrast, copy 2: 1 -> 0",
    ]
    assert run("compare", "a.json", "a.json").output == "no difference\n"


def test_compare_as_json_and_stretched(folder):
    schedules.load("b.json").stretch(40).save("long.json")
    assert "stretched from 40 to 20" in run("compare", "a.json", "long.json").output
    found = json.loads(run("compare", "a.json", "long.json", "--json").output)
    assert found["second_stretched_from"] == 40
    assert [(d["start"], d["stop"]) for d in found["differences"]] == [(8, 14), (14, 20)]
    assert found["differences"][0]["changes"] == [
        {"index": 6, "what": "probability of Brightness, copy 1", "first": 1, "second": 5}
    ]


def test_stretch(folder):
    run("stretch", "a.json", "c.json", "--epochs", "5")
    assert schedules.load("c.json").segments[1][0] == 2


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_plot(folder, suffix):
    run("plot", "teacher=a.json", "student=b.json", "--out", f"out.{suffix}")
    content = (folder / f"out.{suffix}").read_bytes()
    assert len(content) > 10_000
    if suffix == "html":
        assert b"<svg" in content
        for outside in (b"<script", b"<link", b"src=", b"@import"):
            assert outside not in content


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plot", "a.json", "--out", "out.jpg"], "unknown kind of picture"),
        (["plot", "x=a.json", "x=b.json", "--out", "out.png"], "the same name"),
        (["show", "none.json"], "none.json: cannot be read"),
    ],
)
def test_faults(folder, arguments, said):
    with pytest.raises(InputError, match=said):
        run(*arguments)


@pytest.mark.parametrize("epochs", ["0", "-5", "x"])
def test_epochs_must_be_positive(folder, epochs):
    assert run("stretch", "a.json", "c.json", "--epochs", epochs).exit_code == 2


def test_names_that_look_like_markup_or_obey_the_terminal(folder):
    (folder / "[").mkdir()
    for name in ("[/x].json", "[red]a.json", ":smile:.json", "a\x1b]0;owned\x07\n.json"):
        (folder / name).write_bytes((folder / "a.json").read_bytes())
    assert "[/x].json: 20 epochs" in run("show", "[/x].json").output
    assert "[red]a.json: 20 epochs" in run("show", "[red]a.json").output
    assert ":smile:.json: 20 epochs" in run("show", ":smile:.json").output
    told = run("show", "a\x1b]0;owned\x07\n.json").output
    assert r"a\x1b]0;owned\x07\n.json: 20 epochs" in told
    told += run("stretch", "a.json", "b\x1b[2J.json", "--epochs", "5").output
    assert told.replace("\n", "").isprintable()
