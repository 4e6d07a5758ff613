"""Servers of models and of MLflow as users start them, and a client that speaks plain HTTP."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Command = Callable[[str, int], list[str]]
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Server:
    """A process group that answers on a port of loopback."""

    port: int
    process: subprocess.Popen
    log: Path

    def said(self) -> str:
        """Return the end of what it has printed."""
        return self.log.read_text()[-2000:]

    def post(
        self, body: bytes, headers: dict[str, str] = JSON, path: str = "/invocations"
    ) -> tuple[int, bytes]:
        """Return status and body of the answer to a POST."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of the answer to a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def classes(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the classes that the server gives to images."""
        status, answer = self.post(body_of(images))
        assert status == 200, answer
        return np.asarray(json.loads(answer)["predictions"]["logits"]).argmax(1)

    def is_up(self) -> bool:
        """Return whether it answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        return False

    def memory(self) -> float:
        """Return the resident memory of the server's processes in MB."""
        listed = subprocess.run(
            ["ps", "-o", "rss=", "-g", str(self.process.pid)], capture_output=True, text=True
        ).stdout
        return sum(map(int, listed.split())) / 1024

    def peak_memory(self) -> float:
        """Return the largest resident memory so far of the server's processes in MB."""
        listed = subprocess.run(
            ["ps", "-o", "pid=", "-g", str(self.process.pid)], capture_output=True, text=True
        ).stdout
        lines = (Path(f"/proc/{pid}/status").read_text() for pid in listed.split())
        return sum(int(text.partition("VmHWM:")[2].split()[0]) for text in lines) / 1024


class Tracking:
    """A real MLflow server on loopback, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._database = f"sqlite:///{folder}/mlflow.db"
        self._artifacts = str(folder / "mlartifacts")
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--host", "127.0.0.1", "--port", str(self.port)),
                *("--backend-store-uri", self._database),
                *("--artifacts-destination", self._artifacts),
            ],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.3)
        raise AssertionError("the server did not come up")

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def body_of(images: NDArray) -> bytes:
    return json.dumps({"inputs": {"image": images.tolist()}}).encode()


def mlflows(address: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", address]
    return [*command, "--env-manager", "local", "--port", str(port)]


def ours(address: str, port: int) -> list[str]:
    code = "from rolekd.cli import main; main()"
    return [sys.executable, "-c", code, "serve", "--model", address, "--port", str(port)]


@contextlib.contextmanager
def started(command: Command, address: str, folder: Path) -> Iterator[Server]:
    """Start a server in a project; in the block it may still be loading, see `wait`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / f"server-{port}.log").open("w") as log:
        process = subprocess.Popen(
            command(address, port),
            cwd=folder,
            env=os.environ
            | {
                "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
                # MLflow's server looks for uvicorn
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Server(port, process, folder / f"server-{port}.log")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        (folder / f"server-{port}.log").unlink()


def wait(server: Server, seconds: float = 180) -> Server:
    """Wait until a server answers."""
    deadline = time.monotonic() + seconds
    while not server.is_up():
        assert server.process.poll() is None, f"the server ended: {server.said()}"
        assert time.monotonic() < deadline, "the server did not come up"
        time.sleep(0.2)
    return server
