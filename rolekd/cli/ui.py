"""`rolekd ui`: MLflow and optuna-dashboard side by side, on loopback."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from rolekd import addresses, params, ports
from rolekd.display import say
from rolekd.errors import InputError, RunError
from rolekd.track import store

_PORT = click.IntRange(1, 65_535)
_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_TO_END = 10.0  # before it is killed


@click.command()
@click.option("--mlflow-port", default=5000, show_default=True, type=_PORT)
@click.option("--optuna-port", default=8080, show_default=True, type=_PORT)
def ui(mlflow_port: int, optuna_port: int) -> None:
    """Open MLflow and optuna-dashboard on 127.0.0.1 until Ctrl-C."""
    root = store.project_root()
    uri = store.resolve(params.load(root / "params.yaml").track.uri, root)
    store.initialise(uri)
    studies = root / ".rolekd" / "optuna.db"
    # one server process instead of ten: nothing here runs jobs
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": uri,  # `ps` shows arguments, and with them a password
    }
    wanted = {"--mlflow-port": mlflow_port, "--optuna-port": optuna_port}
    if mlflow_port == optuna_port:
        raise InputError(f"--optuna-port {optuna_port}: is MLflow's too; give another")
    if not studies.exists():
        del wanted["--optuna-port"]
    for option, port in wanted.items():
        ports.listen("127.0.0.1", port, option).close()
    commands = {
        f"http://127.0.0.1:{mlflow_port}": _mlflow(mlflow_port),
        f"http://127.0.0.1:{optuna_port}": _optuna(studies, optuna_port),
    }
    with ports.ended_by_signals(), contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(_running(command, environment))
            for command in commands.values()
            if command
        ]
        _announce(commands, studies)
        with contextlib.suppress(KeyboardInterrupt):
            while all(server.poll() is None for server in servers):
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            raise RunError("one of the servers ended; what it printed says why")


def _announce(commands: dict[str, list[str]], studies: Path) -> None:
    say(f"MLflow: {next(iter(commands))} (ready in some 15 s)")
    if studies.exists():
        say(f"optuna-dashboard: {list(commands)[1]}")
    else:
        say(f"optuna-dashboard: not started, no search yet ({studies} is missing)")
    say("Ctrl-C ends them")


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block runs; it ends with all that it has started."""
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        yield server
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(_SECONDS_TO_END)


def _mlflow(port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1"),
    ]


def _optuna(studies: Path, port: int) -> list[str]:
    if not studies.exists():
        return []
    program = Path(sys.executable).with_name("optuna-dashboard")
    # gunicorn, its default, opens a control socket below HOME
    options = ["--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref"]
    return [str(program), *options, addresses.of_sqlite(studies)]
