"""The command line: thin commands over functions that do the work.

Commands live in modules of this package and are imported when they are called, so that
`rolekd --help` answers at once.
"""

import gc
import os
from typing import NoReturn

import click

from rolekd import __version__, code, display, environment, processes
from rolekd.cli.groups import Lazy, LazyGroup
from rolekd.errors import RolekdError, one_line

__all__ = ["call", "main", "progress", "root", "run"]

_SECTIONS = {
    "Prepare": {
        "preset": Lazy("rolekd.cli.preset", "preset", "List ready-made params files, or use one."),
        "params": Lazy("rolekd.cli.params", "params", "Check params.yaml; print values, networks."),
        "models": Lazy("rolekd.cli.models", "models", "List networks, or registered models."),
        "weights": Lazy("rolekd.cli.weights", "weights", "Import weights for networks."),
        "download": Lazy("rolekd.cli.download", "download", "Fetch public raw data and check it."),
        "estimate": Lazy("rolekd.cli.estimate", "estimate", "Estimate the time of a run."),
        "doctor": Lazy("rolekd.cli.doctor", "doctor", "Check installation and project."),
    },
    "Run": {
        "search": Lazy("rolekd.cli.search", "search", "Search a schedule for one role."),
        "worker": Lazy("rolekd.cli.search", "worker", "Help with searches and trainings."),
        "status": Lazy("rolekd.cli.search", "status", "Show progress of searches, trainings."),
        "study": Lazy("rolekd.cli.study", "study", "Run a study and write its results."),
        "bench": Lazy("rolekd.cli.bench", "bench", "Measure speed against other tools."),
    },
    "See": {
        "summary": Lazy("rolekd.cli.summary", "summary", "Print results of the last `dvc repro`."),
        "report": Lazy("rolekd.cli.report", "report", "Write the HTML report of the last run."),
        "compare": Lazy("rolekd.cli.compare", "compare", "Compare the numbers of runs."),
        "schedule": Lazy("rolekd.cli.schedule", "schedule", "Import, show and compare schedules."),
        "ui": Lazy("rolekd.cli.ui", "ui", "Open MLflow and optuna-dashboard here."),
        "sync": Lazy("rolekd.cli.sync", "sync", "Send waiting records to MLflow."),
    },
    "Deploy": {
        "register": Lazy("rolekd.cli.registry", "register", "Choose the version to promote."),
        "promote": Lazy(
            "rolekd.cli.registry", "promote", "Make a version the champion if it passes the gates."
        ),
        "rollback": Lazy("rolekd.cli.registry", "rollback", "Return to the previous champion."),
        "predict": Lazy("rolekd.cli.predict", "predict", "Classify image files with a model."),
        "serve": Lazy("rolekd.cli.serve", "serve", "Serve a registered model over HTTP."),
    },
}
_EPILOG = """\b
Examples:
  rolekd preset use photos-96 one-student   # a params.yaml for your photos
  rolekd estimate                           # minutes of every stage
  dvc repro                                 # the run itself
  rolekd summary                            # the results
  rolekd predict --model outputs/export/student.onnx photo.png

\b
Tab completion of commands and options (bash; zsh and fish similarly):
  eval "$(_ROLEKD_COMPLETE=bash_source rolekd)"
"""


class _Root(LazyGroup):
    sections = _SECTIONS


@click.group(cls=_Root, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
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
        # How long a waiting OpenMP thread spins before it sleeps. Spinning takes cores from others:
        # beside two trainings a step takes 395 ms instead of 222; sleeping at once makes a training
        # that is alone a fifth slower (results/step.md, "Threads"). Read when torch loads.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # What imports make stays, and Python would look through it every 700 objects, for a tenth of
    # the time that torch and MLflow take to load and more (results/step.md, "Starts").
    gc.set_threshold(10_000)
    environment.give_home()
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
    except click.UsageError as error:
        display.say_error(_with_help(error))
        return error.exit_code
    except click.ClickException as error:
        display.say_error(error.format_message())
        return error.exit_code
    except Exception as error:
        message, exit_code = _in_one_line(error)
        display.say_error(message, error if os.environ.get("ROLEKD_DEBUG") else None)
        return exit_code
    return status if isinstance(status, int) else 0  # what `context.exit` was called with


def _with_help(error: click.UsageError) -> str:
    """Return what is wrong with the arguments, and which help to read."""
    message = error.format_message().rstrip(".")
    if error.ctx is None or message.endswith("?"):  # it suggests what was meant
        return message
    return f"{message}; {error.ctx.command_path} --help explains"


def _in_one_line(error: Exception) -> tuple[str, int]:
    """Return an error's message for people, and the exit code."""
    if isinstance(error, RolekdError):
        return str(error), error.exit_code
    if (told := environment.of_module(error)) is not None:
        return told, 1
    return (
        f"unexpected {type(error).__name__}: {one_line(error)}; "
        "run again with --debug (stages: ROLEKD_DEBUG=1) and report the traceback"
    ), 1
