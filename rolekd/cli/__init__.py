"""The command line: thin commands over functions that do the work.

Commands live in modules of this package and are imported when they are called, so that
`rolekd --help` answers at once.
"""

import importlib
import os
from typing import NoReturn

import click

from rolekd import __version__, code, display, environment, processes
from rolekd.errors import RolekdError, one_line

__all__ = ["call", "main", "progress", "root", "run"]

# name -> (module, attribute, one line for --help)
_COMMANDS = {
    "bench": ("rolekd.cli.bench", "bench", "Measure speed against named peers."),
    "compare": ("rolekd.cli.compare", "compare", "Compare runs, and what differs between them."),
    "doctor": ("rolekd.cli.doctor", "doctor", "Look for what is wrong, and say what to do."),
    "download": ("rolekd.cli.download", "download", "Fetch public raw data and check it."),
    "estimate": ("rolekd.cli.estimate", "estimate", "Say how long a run will take."),
    "models": ("rolekd.cli.models", "models", "List the networks that params.yaml can name."),
    "params": ("rolekd.cli.params", "params", "Check params.yaml; print values, schema, networks."),
    "predict": ("rolekd.cli.predict", "predict", "Classify image files with a registered model."),
    "preset": ("rolekd.cli.preset", "preset", "List the ready-made params files, or use one."),
    "promote": ("rolekd.cli.registry", "promote", "Make a version the champion, if gates agree."),
    "register": ("rolekd.cli.registry", "register", "Choose the version to promote."),
    "report": ("rolekd.cli.report", "report", "Write the HTML report of the last `dvc repro`."),
    "rollback": ("rolekd.cli.registry", "rollback", "Return to the previous champion."),
    "schedule": ("rolekd.cli.schedule", "schedule", "Import, show, plot and compare schedules."),
    "search": ("rolekd.cli.search", "search", "Search a schedule for one role."),
    "serve": ("rolekd.cli.serve", "serve", "Serve a registered model over HTTP."),
    "status": ("rolekd.cli.search", "status", "Show how far the searches are."),
    "study": ("rolekd.cli.study", "study", "Run a study, and write what it found."),
    "summary": ("rolekd.cli.summary", "summary", "Print what the last `dvc repro` came to."),
    "sync": ("rolekd.cli.sync", "sync", "Send what a lost MLflow store missed."),
    "ui": ("rolekd.cli.ui", "ui", "Open MLflow and optuna-dashboard on loopback."),
    "weights": ("rolekd.cli.weights", "weights", "Import weights that networks begin with."),
    "worker": ("rolekd.cli.search", "worker", "Work on a search that runs elsewhere."),
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rolekd")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def root(debug: bool) -> None:
    """Train small, low-bit image classifiers that learn more from their teachers."""
    if debug:
        os.environ["ROLEKD_DEBUG"] = "1"


def main() -> NoReturn:
    """Entry point of the console script `rolekd`."""
    run(root, "rolekd")


def run(command: click.Command, name: str) -> NoReturn:
    """Call a click command with the process's arguments, and end the process."""
    processes.leave(call(command, name))


def call(command: click.Command, name: str) -> int:
    """Call a click command with the process's arguments; return its exit code.

    An error is reported as one line.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        # Turns that a waiting OpenMP thread spins before it sleeps: by default a training with
        # two threads takes a multiple of its time where others want the cores, and with
        # none a fifth more where none does. Read when torch loads.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    display.guard()
    if (other := code.other_checkout()) is not None:
        display.say(
            f"note: this is the rolekd of {other}, not of the folder you are in; make setup, then "
            ". .venv/bin/activate",
            err=True,
        )
    try:
        status = command(prog_name=name, standalone_mode=False)
    except click.Abort:
        display.say_error("interrupted; run the same command to resume")
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        display.say(*error.format_message().splitlines())
        return 0
    except click.ClickException as error:
        display.say_error(error.format_message())
        return error.exit_code
    except Exception as error:
        message, exit_code = _in_one_line(error)
        display.say_error(message, error if os.environ.get("ROLEKD_DEBUG") else None)
        return exit_code
    return status if isinstance(status, int) else 0  # what `context.exit` was called with


def _in_one_line(error: Exception) -> tuple[str, int]:
    """Return what people are told of an error, and the exit code."""
    if isinstance(error, RolekdError):
        return str(error), error.exit_code
    if (told := environment.of_module(error)) is not None:
        return told, 1
    return (
        f"unexpected {type(error).__name__}: {one_line(error)}; "
        "run again with --debug (stages: ROLEKD_DEBUG=1) and report the traceback"
    ), 1
