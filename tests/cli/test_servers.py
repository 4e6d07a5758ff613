"""`rolekd ui` and `rolekd serve`: their ports, and their ends by signals, which leave nothing."""

import contextlib
import functools
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow  # noqa: F401  a run that waits for its id does not wait for that
import numpy as np
import pytest
from onnx_models import linear_model

from rolekd import ports
from rolekd.errors import InputError
from rolekd.registry import versions
from rolekd.track import runs, store

Start = Callable[..., subprocess.Popen[str]]
CODE = "from rolekd.cli import main; main()"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Start commands in a project; whatever a test that fails leaves is ended."""
    (project / "temporary").mkdir()
    processes = []
    # a client of MLflow in this process may have left the address of another store
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}

    def begin(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments],
            cwd=project,
            env={**environment, "TMPDIR": str(project / "temporary")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # which nohup has ignored, and everything below it ignores then
            preexec_fn=functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL),
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        for pid in {process.pid} | family(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def family(pid: int) -> set[int]:
    """Return the processes that a process has started, and those have."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                child = int(path.parent.name)
                found |= {child} | family(child)
    return found


def alive(pids: set[int]) -> set[int]:
    def runs_still(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    # multiprocessing's resource tracker ends by itself, a moment after the last that it serves
    deadline = time.monotonic() + 5
    while (found := {pid for pid in pids if runs_still(pid)}) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def wait_for(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


# a server takes seconds to start, and minutes where the machine is busy
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "number", [signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_the_user_interface_ends_whole(start: Start, number: signal.Signals) -> None:
    port = free_port()
    process = start("ui", "--mlflow-port", str(port))
    wait_for(port, process)
    started = family(process.pid)
    assert started
    process.send_signal(number)
    process.communicate(timeout=200)
    assert process.returncode == 128 + number
    assert not alive(started)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("number", "workers"),
    [
        (signal.SIGHUP, 1),
        pytest.param(signal.SIGTERM, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 2, marks=pytest.mark.slow),
    ],
)
def test_a_model_server_ends_whole(
    project: Path, start: Start, number: signal.Signals, workers: int
) -> None:
    with runs.start("register", experiment="rolekd-x") as run:
        example = np.zeros((1, 8, 8, 1), np.uint8)
        path, uri = linear_model(project / "student.onnx"), store.resolve(None, project)
        versions.register(path, name="x", run_id=run.run_id(), example=example, uri=uri)
    port = free_port()
    address = ["serve", "--model", "models:/x/1", "--port", str(port)]
    process = start(*address, "--workers", str(workers))
    wait_for(port, process)
    started = family(process.pid)
    assert len(started) >= (workers if workers > 1 else 0)
    process.send_signal(number)
    process.communicate(timeout=200)
    assert not alive(started)
    assert not list((project / "temporary").iterdir())


def test_a_port_that_is_taken_is_told_before_anything_is_started(start: Start, taken: int) -> None:
    for command in (["ui", "--mlflow-port"], ["serve", "--port"]):
        output, _ = start(*command, str(taken)).communicate(timeout=60)
        assert output.startswith(f"error: {command[1]} {taken}: cannot listen on 127.0.0.1 (Addre")
        assert output.count("\n") == 1


def test_ports_that_are_none_of_ours(taken: int) -> None:
    with pytest.raises(InputError, match=rf"--port {taken}: cannot listen on 127\.0\.0\.1"):
        ports.listen("127.0.0.1", taken)
    with pytest.raises(InputError, match=r"--port 80: cannot listen on 203\.0\.113\.1"):
        ports.listen("203.0.113.1", 80)
    with ports.listen("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0
