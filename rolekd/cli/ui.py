"""`rolekd ui`: MLflow and optuna-dashboard side by side, on loopback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from rolekd import addresses, params
from rolekd.display import say
from rolekd.track import store

_PORT = click.IntRange(1, 65_535)


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
    commands = {
        f"http://127.0.0.1:{mlflow_port}": _mlflow(mlflow_port),
        f"http://127.0.0.1:{optuna_port}": _optuna(studies, optuna_port),
    }
    servers = [
        subprocess.Popen(command, env=environment, start_new_session=True)
        for command in commands.values()
        if command
    ]
    say(f"MLflow: {next(iter(commands))} (ready in some 15 s)")
    if studies.exists():
        say(f"optuna-dashboard: {list(commands)[1]}")
    else:
        say(f"optuna-dashboard: not started, no search yet ({studies} is missing)")
    say("Ctrl-C ends them")
    try:
        for server in servers:
            server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        for server in servers:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait()


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
