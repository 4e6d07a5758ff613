"""What clients may take up of a server, over real connections on loopback."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import servers
import uvicorn
from numpy.typing import NDArray
from starlette.types import ASGIApp, Receive, Scope, Send

from rolekd.registry import connections, serving
from rolekd.registry.connections import Limits

HEAD = b"POST /invocations HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\n"
BODY = servers.body_of(np.zeros((1, 2, 2, 1), int))
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
LIMITS = Limits(body=10_000, connections=4, seconds=0.3)
PATIENT = Limits(body=10_000, connections=40, seconds=60.0)


class Network:
    """A network of 2x2x1 images that computes what it is given, and counts."""

    accepted_shape = image_shape = (2, 2, 1)
    classes = ("a", "b", "c")
    origin = "a network"

    def __init__(self, compute: Callable[[], object] = lambda: None) -> None:
        self.runs = 0
        self._compute = compute

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        self.runs += 1
        self._compute()
        answer = np.zeros((len(images), 3), np.float32)
        return answer, answer


def application(network: Network, limits: Limits) -> ASGIApp:
    return serving.application(network, limits)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Running:
    """A server in a thread of this process."""

    port: int
    server: uvicorn.Server

    def wait_for(self, connections: int) -> None:
        """Wait until so many are open."""
        deadline = time.monotonic() + 30
        while len(self.server.server_state.connections) != connections:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@contextlib.contextmanager
def running(app: ASGIApp, limits: Limits) -> Iterator[Running]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, **serving.bounds(limits)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Running(listening.getsockname()[1], server)
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        listening.close()


@contextlib.contextmanager
def serve(app: ASGIApp, limits: Limits) -> Iterator[int]:
    """Serve in a thread; yield the port."""
    with running(app, limits) as found:
        yield found.port


@contextlib.contextmanager
def connected(port: int, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(sent)
        yield client


def rest(client: socket.socket) -> bytes:
    """Return all that comes until the server ends the connection."""
    found = bytearray()
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65536):
            found += part
    return bytes(found)


def answer(client: socket.socket) -> tuple[int, Any]:
    """Return status and JSON of the next answer."""
    file = client.makefile("rb")
    status = int(file.readline().split()[1])
    headers = dict(line.lower().split(b": ", 1) for line in iter(file.readline, b"\r\n"))
    return status, json.loads(file.read(int(headers[b"content-length"])))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_GRACE_SECONDS", 0.5)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("begun", [b"", b"POST /inv", HEAD, HEAD + b"X: " + b"x" * 1000])
def test_a_request_whose_head_does_not_end(begun: bytes) -> None:
    with serve(application(Network(), LIMITS), LIMITS) as port, connected(port, begun) as client:
        assert rest(client) == b""


@pytest.mark.usefixtures("hasty")
def test_a_client_that_sends_on_and_on() -> None:
    """Each byte comes in time, the request does not."""
    with (
        serve(application(Network(), LIMITS), LIMITS) as port,
        connected(port, HEAD) as client,
        pytest.raises(ConnectionError),
    ):
        for _ in range(3000):
            client.sendall(b"X")
            time.sleep(0.01)


@pytest.mark.usefixtures("hasty")
def test_a_body_that_does_not_end_is_answered() -> None:
    with (
        serve(application(Network(), LIMITS), LIMITS) as port,
        connected(port, HEAD + b"Content-Length: 1000\r\n\r\n{") as client,
    ):
        status, content = answer(client)
        assert (status, content["message"]) == (408, "the request did not arrive in time")
        assert rest(client) == b""


@pytest.mark.usefixtures("hasty")
def test_a_client_that_does_not_read_its_answer() -> None:
    sent = threading.Event()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with contextlib.suppress(OSError):
            for _ in range(100):
                await send({"type": "http.response.body", "body": bytes(10**6), "more_body": True})
        sent.set()

    with serve(large, LIMITS) as port, connected(port, b"GET / HTTP/1.1\r\nHost: m\r\n\r\n"):
        assert sent.wait(30)


@pytest.mark.usefixtures("hasty")
def test_connections_are_bounded_and_free_again() -> None:
    limits = Limits(body=10_000, connections=4, seconds=60.0)
    app = application(Network(), limits)
    with running(app, limits) as found, contextlib.ExitStack() as stack:
        port = found.port
        first, *_ = [stack.enter_context(connected(port, b"POST")) for _ in range(4)]
        with connected(port) as fifth:
            status, content = answer(fifth)
            assert (status, content["message"]) == (503, "too many connections; try again")
            assert rest(fifth) == b""
        first.sendall(REQUEST[4:])
        assert answer(first)[0] == 200
        first.close()
        found.wait_for(connections=3)
        with connected(port, REQUEST) as again:
            assert answer(again)[0] == 200


@pytest.mark.usefixtures("hasty")
def test_a_connection_that_is_used_stays() -> None:
    limits = Limits(body=10_000, connections=4, seconds=1.0)
    with serve(application(Network(), limits), limits) as port, connected(port) as client:
        for _ in range(10):  # longer than one request may take
            client.sendall(REQUEST)
            assert answer(client)[0] == 200
            time.sleep(0.2)


def test_nothing_is_computed_for_clients_that_left() -> None:
    busy, free = threading.Barrier(3), threading.Event()

    def compute() -> None:
        if not free.is_set():
            busy.wait(30)
            free.wait(30)

    network = Network(compute)
    with running(application(network, PATIENT), PATIENT) as found:
        port = found.port
        with connected(port, REQUEST) as one, connected(port, REQUEST) as two:
            busy.wait(30)
            with contextlib.ExitStack() as stack:
                for _ in range(5):
                    stack.enter_context(connected(port, REQUEST))
                found.wait_for(connections=7)
            found.wait_for(connections=2)
            with connected(port, REQUEST) as last:
                found.wait_for(connections=3)
                free.set()
                assert [answer(client)[0] for client in (one, two, last)] == [200, 200, 200]
    assert network.runs == 3


def test_a_turn_that_does_not_come() -> None:
    busy, free = threading.Barrier(3), threading.Event()
    network = Network(lambda: (busy.wait(30), free.wait(30)))
    with (
        serve(application(network, LIMITS), LIMITS) as port,
        connected(port, REQUEST) as one,
        connected(port, REQUEST) as two,
    ):
        busy.wait(30)
        with connected(port, REQUEST) as third:
            status, content = answer(third)
            assert (status, content["message"]) == (503, "too many requests; try again")
        free.set()
        assert [answer(client)[0] for client in (one, two)] == [200, 200]


def test_a_fault_of_ours_tells_nothing() -> None:
    def fails() -> None:
        raise RuntimeError("/secret/path")

    with (
        serve(application(Network(fails), PATIENT), PATIENT) as port,
        connected(port, REQUEST) as client,
    ):
        status, content = answer(client)
    assert status == 500
    assert content == {"error_code": "INTERNAL_ERROR", "message": "the server failed"}
