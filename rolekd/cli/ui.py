"""`rolekd ui`: MLflow and optuna-dashboard side by side, on loopback."""

import contextlib
import http
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from rolekd import addresses, params, ports
from rolekd.display import say
from rolekd.errors import InputError, RunError
from rolekd.track import store, urls

_PORT = click.IntRange(1, 65_535)
_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_TO_END = 10.0  # before it is killed
_SECONDS_TO_ANSWER = 20.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy to loopback
_TESTED = "tags.split = 'test'"  # a run for each arm, with its test accuracy
_LATEST = ["attributes.start_time DESC"]
_VIEW = "rolekd-arms"
_ACCURACY = "metrics.`test_accuracy`"
_COLUMNS = (_ACCURACY, "params.`arm`", "params.`student.bits`", "tags.`dvc.experiment`")


@click.command()
@click.option("--mlflow-port", default=urls.PORT, show_default=True, type=_PORT)
@click.option("--optuna-port", default=8080, show_default=True, type=_PORT)
@click.option("--open", "opens", is_flag=True, help="Open the first page in a browser.")
def ui(mlflow_port: int, optuna_port: int, opens: bool) -> None:
    """Run MLflow and optuna-dashboard on 127.0.0.1 until Ctrl-C; print the pages to start with."""
    root = store.project_root()
    values = params.load(root / "params.yaml")
    uri = store.resolve(values.track.uri, root)
    store.initialise(uri)
    studies = root / ".rolekd" / "optuna.db"
    # one server process instead of ten: jobs do not run here
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": uri,  # `ps` shows arguments, and with them a password
        "PYTHONWARNINGS": "ignore",  # they are about the servers' own code
    }
    wanted = {"--mlflow-port": mlflow_port, "--optuna-port": optuna_port}
    if mlflow_port == optuna_port:
        raise InputError(f"--optuna-port {optuna_port}: is also MLflow's; choose another")
    if not studies.exists():
        del wanted["--optuna-port"]
    for option, port in wanted.items():
        ports.listen("127.0.0.1", port, option).close()
    server, searches = (f"http://127.0.0.1:{port}" for port in (mlflow_port, optuna_port))
    with ports.ended_by_signals(), contextlib.ExitStack() as stack:
        servers = [stack.enter_context(_running(_mlflow(mlflow_port), environment))]
        say("MLflow is ready in about 15 s; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            shown = None
            while all(one.poll() is None for one in servers):
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                if shown is None and (shown := _pages(server, store.experiment(values.data.name))):
                    _show(shown, opens)
                    _tell_of_searches(searches, studies)
                    # it prints its own address: after the pages to start with
                    servers += [
                        stack.enter_context(_running(command, environment))
                        for command in _optuna(studies, optuna_port)
                    ]
            raise RunError("one of the servers ended; what it printed says why")


def _show(shown: Mapping[str, str], opens: bool) -> None:
    for title, address in shown.items():
        say(f"{title}: {address}")
    if opens:
        webbrowser.open(next(iter(shown.values())))


def _tell_of_searches(server: str, studies: Path) -> None:
    if studies.exists():
        say(f"searches: {server}")
    else:
        say(f"searches: none yet ({studies} is missing), so optuna-dashboard is not started")


def _pages(server: str, experiment: str) -> dict[str, str] | None:
    """Return title -> address of MLflow's pages with results; None: it is not ready yet."""
    try:
        name = urllib.parse.quote(experiment)
        found = _ask(f"{server}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}")
        if found is None:
            return {"no runs yet": urls.experiments(server)}
        number = found["experiment"]["experiment_id"]
        query = {"experiment_ids": [number], "filter": _TESTED, "order_by": _LATEST}
        _keep_view(server, number)
        tested = _ask(f"{server}/api/2.0/mlflow/runs/search", {**query, "max_results": 200}) or {}
    except urllib.error.HTTPError as error:  # it is ready, but something is wrong with the store
        return {f"MLflow, which says {error}": urls.experiments(server)}
    except OSError:
        return None
    shown = {
        "arms of all runs": urls.view(server, number, _VIEW),
        "all runs": urls.runs(server, number),
    }
    parents = [_parent(run) for run in tested.get("runs", [])]
    arms = [r["info"]["run_id"] for r in tested.get("runs", []) if _parent(r) == parents[0]]
    if len(arms) > 1:
        beside = urls.comparison(server, number, arms)
        shown = {"arms of the last run, side by side": beside, **shown}
    return shown


def _keep_view(server: str, experiment: str) -> None:
    """Store the view of all arms with the experiment, where MLflow's page looks for it."""
    tag = {
        "experiment_id": experiment,
        "key": urls.SHARED_VIEW + _VIEW,
        "value": urls.view_state(_TESTED, _ACCURACY, _COLUMNS),
    }
    _ask(f"{server}/api/2.0/mlflow/experiments/set-experiment-tag", tag)


def _parent(run: Mapping[str, Any]) -> str | None:
    tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
    return tags.get("mlflow.parentRunId")


def _ask(address: str, content: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Return the answer of MLflow's server; None: it does not have this.

    Raises:
        OSError: It does not answer.
    """
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    try:
        with _DIRECT.open(request, timeout=_SECONDS_TO_ANSWER) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.NOT_FOUND:
            return None
        raise


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block runs; then end it and all that it has started."""
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
    program = [sys.executable, "-m", "mlflow", "server"]
    # without the log level a line for each request hides the links
    quiet = ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    return [*program, "--host", "127.0.0.1", "--port", str(port), *quiet]


def _optuna(studies: Path, port: int) -> list[list[str]]:
    """Return the command of the server; none if there is nothing to show."""
    if not studies.exists():
        return []
    program = Path(sys.executable).with_name("optuna-dashboard")
    # gunicorn, its default, opens a control socket below HOME
    options = ["--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref"]
    return [[str(program), *options, addresses.of_sqlite(studies)]]
