"""Nothing leaves as it came: terminal, log, warning, traceback, table."""

import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from rolekd.console import console
from rolekd.display import clean, shown

ROOT = Path(__file__).parents[1]
PASSWORD = "s3cr3t-Pa55"
ADDRESS = f"postgresql://ann:{PASSWORD}@host/db"
# sets the window's title, clears, breaks the line, turns the direction, is not a text
EVIL = "\x1b]0;owned\x07\x1b[2J\r\n\u202eexe.\u2066\x9b31m\udcff\u2028end"


@given(st.text())
def test_foreign_text_is_one_printable_line(text):
    line = shown(text)
    assert line.isprintable()
    line.encode()  # any file and terminal can hold it
    assert len(shown(text, 20)) <= 20
    assert clean(text).replace("\n", "").replace("\t", "").isprintable()


@given(st.text("abc $^_[]/:ßж漢", max_size=50))
def test_what_is_printable_stays(text):
    assert shown(text) == text


def test_what_is_escaped_can_be_read():
    assert shown(EVIL) == (r"\x1b]0;owned\x07\x1b[2J\r\n\u202eexe.\u2066\x9b31m\udcff\u2028end")
    assert shown("a" * 50 + "remedy", 20) == "a" * 13 + "…remedy"


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


LEAVE = f"""
import logging, sys, threading, warnings
import click
from rolekd import cli
from rolekd.errors import RunError

TEXT = {f"{ADDRESS} {EVIL}"!r}

def fail(kind):
    try:
        raise ConnectionError(f"cannot reach {{TEXT}}")
    except ConnectionError as error:
        raise kind(f"store {{TEXT}}: no answer") from error

@click.command()
@click.argument("how")
def main(how):
    if how == "error":
        fail(RunError)
    if how == "unexpected":
        fail(ValueError)
    if how == "usage":
        raise click.UsageError(TEXT)
    if how == "log":
        logging.getLogger("any.library").warning("no answer from %s", TEXT)
    if how == "logged traceback":
        try:
            fail(ValueError)
        except ValueError:
            logging.getLogger("any.library").exception("failed")
    if how == "warning":
        warnings.warn(TEXT)
    if how == "thread":
        thread = threading.Thread(target=fail, args=[ValueError])
        thread.start()
        thread.join()

cli.run(main, "main")
"""


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize(
    ("how", "code"),
    [("error", 1), ("unexpected", 1), ("usage", 2), ("log", 0), ("logged traceback", 0),
     ("warning", 0), ("thread", 0)],
)  # fmt: skip
def test_whatever_leaves_a_command_is_clean(how, code, debug):
    done = run(LEAVE, how, ROLEKD_DEBUG=debug)
    assert done.returncode == code
    assert "postgresql://***@host/db" in done.stderr
    assert PASSWORD not in done.stderr + done.stdout
    assert r"\x1b]0;owned" in done.stderr
    assert done.stderr.replace("\n", "").isprintable()
    traced = how in ("logged traceback", "thread") or (debug and how in ("error", "unexpected"))
    assert ("Traceback" in done.stderr) == bool(traced)
    if traced:  # it is whole: both errors, and the line of the code
        assert "ConnectionError: cannot reach postgresql://***@host" in done.stderr
        assert "The above exception was the direct cause" in done.stderr
    if how in ("error", "unexpected", "usage"):
        assert done.stderr.splitlines()[-1].startswith("error: ")


def test_secrets_of_the_environment_are_blanked_wherever_they_stand():
    code = """
    import os
    from rolekd import cli, display
    display.guard()
    display.say(f"login of {os.environ['PGPASSWORD']} failed, also of {os.environ['OTHER'][17:26]}")
    """
    done = run(code, PGPASSWORD="hush hush", OTHER="postgresql://ann:a b'c/d@e@host/db")
    assert done.stdout == "login of *** failed, also of ***\n"


def test_tables_show_names_as_they_are():
    table = Table("name", title="[/x].json :smile:", caption=EVIL)
    table.add_row("[red]a[/red] :smile:")
    table.add_row(EVIL)
    table.add_row(ADDRESS)
    table.add_row(Text("ours", "red"))
    text = io.StringIO()
    terminal = console(file=text, width=120)
    terminal.print(table)
    terminal.print("[/x]", EVIL, sep="\n")
    told = text.getvalue()
    assert "[/x].json :smile:" in told
    assert "[red]a[/red] :smile:" in told
    assert PASSWORD not in told
    assert told.count(r"\x1b]0;owned") == 3
    assert told.replace("\n", "").isprintable()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_whatever_letters_a_terminal_has_text_arrives(encoding: str) -> None:
    code = "from rolekd import display; display.guard(); display.say('95 ± 1 … ☃')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    wanted = {"ascii": "95 +- 1 .. \\u2603", "latin-1": "95 ± 1 .. \\u2603", "utf-8": "95 ± 1 … ☃"}
    assert done.stdout.decode(encoding) == f"{wanted[encoding]}\n"
