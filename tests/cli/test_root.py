"""The commands as a whole: sections, suggestions, completion, and what is printed at 80 columns."""

import io
import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from rolekd import cli
from rolekd.cli import groups
from rolekd.console import Table, console
from rolekd.errors import InputError

NAMES = cli.root.list_commands(click.Context(cli.root, **cli.root.context_settings))
_TRACED = """
import sys
from rolekd.cli import main
try:
    main()
finally:
    print("imported:", *{"torch", "rich", "numpy", "pydantic"}.intersection(sys.modules))
"""


def printed(*arguments: str) -> str:
    found = CliRunner().invoke(
        cli.root,
        arguments,
        prog_name="rolekd",
        env={"COLUMNS": "80"},
        terminal_width=80,
        catch_exceptions=False,
    )
    assert found.exit_code == 0
    return found.output


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str):
    """Return exit code and standard error of a call as the console script makes it."""
    monkeypatch.setattr(sys, "argv", ["rolekd", *arguments])
    code = cli.call(cli.root, "rolekd")
    return code, capsys.readouterr().err


def test_help_has_every_command_once_under_a_heading_and_examples():
    text = printed("--help")
    for name in NAMES:
        assert len(re.findall(rf"^  {name} +\w", text, re.MULTILINE)) == 1, name
    headings = re.findall(r"^(\w+):$", text, re.MULTILINE)
    assert headings == ["Options", "Prepare", "Run", "See", "Deploy"]
    assert max(map(len, text.splitlines())) <= 80
    examples = re.findall(r"^    rolekd ([a-z]+)", text, re.MULTILINE)
    assert len(examples) >= 3
    assert set(examples) <= set(NAMES)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        ([], {"_ROLEKD_COMPLETE": "bash_complete", "COMP_WORDS": "rolekd s", "COMP_CWORD": "1"}),
    ],
)
def test_help_and_completion_import_no_command(arguments, environment):
    done = subprocess.run(
        [sys.executable, "-c", _TRACED, *arguments],
        env={**environment, "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    if not environment:  # a process that completes, or helps, may leave at once
        assert "Deploy:" in done.stdout
    assert "summary" in done.stdout
    assert not re.search("imported: .", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stauts"], "rolekd: no command 'stauts'; did you mean status?"),
        (["zzz"], "rolekd: no command 'zzz'; rolekd --help lists them"),
        (["preset", "lst"], "rolekd preset: no command 'lst'; did you mean list?"),
        (["compare"], "Missing argument 'RUN...'; rolekd compare --help explains"),
        (["models", "--registri"], "No such option '--registri'. Did you mean '--registry'?"),
    ],
)
def test_what_is_wrong_gets_a_remedy_and_exit_code_2(monkeypatch, capsys, arguments, said):
    assert told(monkeypatch, capsys, *arguments) == (2, f"error: {said}\n")


def test_completion_knows_commands_and_presets():
    context = click.Context(cli.root, **cli.root.context_settings)
    assert {one.value for one in cli.root.shell_complete(context, "s")} == {
        name for name in NAMES if name.startswith("s")
    }
    assert "--debug" in {one.value for one in cli.root.shell_complete(context, "--")}
    preset = cli.root.get_command(context, "preset")
    use = preset.get_command(context, "use")
    (names,) = [one for one in use.params if one.name == "names"]
    found = [one.value for one in names.shell_complete(context, "photos")]
    assert found == ["photos-224", "photos-96"]


def test_a_group_names_itself():
    group = groups.CommandGroup("tools")
    with pytest.raises(InputError, match="tools: no command 'x'; tools --help lists them"):
        group.main(["x"], prog_name="tools", standalone_mode=False)


@pytest.mark.parametrize("arguments", [["preset", "list"], ["preset", "--help"]])
def test_no_name_is_cut_at_80_columns(arguments):
    text = printed(*arguments)
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_table_keeps_its_words_whole_at_any_width(width):
    words = ["an-identifier-of-forty-one-characters-0001", "several words that may be wrapped"]
    table = Table("name", "what it is", "number of bit-operations")
    table.add_row(*words, "1,234,567")
    table.add_row("short", "x", "1")
    text = io.StringIO()
    console(file=text, width=width).print(table)
    lines = text.getvalue().splitlines()
    for word in [*" ".join(words).split(), "bit-operations", "1,234,567"]:
        assert word in text.getvalue()
    assert len({len(line.rstrip()) for line in lines}) == 1  # the frame is whole
    # as narrow as the longest words allow: 42 + 7 + 14, two spaces and a bar for each, and a bar
    assert len(lines[0].rstrip()) <= max(width, 42 + 7 + 14 + 3 * 3 + 1)
