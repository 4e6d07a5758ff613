"""Serving a registered version over HTTP: MLflow's protocol over a network that was checked.

Paths, requests and answers are those of `mlflow models serve` for a model of images
(`/invocations`, `/ping`, `/health`, `/version`), so a client does not notice the difference. In
addition
there are `/classify`, which takes photos as files, and a page at `/` for dropping photos. MLflow's
own server runs code that the version names, and builds what a client sends before checking it.
Neither can be fixed from outside, so this server does not share code with it.
"""

import asyncio
import importlib.metadata
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from rolekd import ports
from rolekd.errors import InputError
from rolekd.export import predict, session
from rolekd.registry import photos, tensors
from rolekd.registry.connections import BoundedProtocol, Limits
from rolekd.registry.fetch import Fetched

_SERVED = "ROLEKD_SERVED"
_AT_ONCE = 2  # requests that a worker computes at once; of the others it keeps only the bodies
_VALUES_AT_ONCE = 2**17  # of images in one run: activations take about a hundred times as much
_JSON = "application/json"
_PAGE_HEADERS = {
    # the page does not load anything from elsewhere, and cannot be framed by others
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src blob: data:; connect-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_UTF_8 = {"charset=utf-8", 'charset="utf-8"'}


@dataclass(frozen=True)
class _Served:
    """What a worker reads from its environment; it checks the file again."""

    path: str
    sha256: str
    name: str
    limits: Limits


def serve(version: Fetched, listener: socket.socket, workers: int, limits: Limits) -> None:
    """Answer until interrupted, or ended by TERM or HUP; its workers end with it.

    Args:
        version: what to serve.
        listener: the socket on which requests come.
        workers: processes; each holds the network.
        limits: of each worker.
    """
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    served = _Served(str(version.graph), version.sha256, version.origin, limits)
    # uvicorn's workers are processes that find what to serve in the environment
    os.environ[_SERVED] = json.dumps(asdict(served))
    config = uvicorn.Config(
        f"{__name__}:from_environment", factory=True, workers=workers, **bounds(limits)
    )
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by nohup
    with ports.hanging_up_ends():
        if workers == 1:
            uvicorn.Server(config).run([listener])
            return
        supervisor = Multiprocess(config, [listener])
        # its default is to restart the workers
        answer = (lambda: None) if ignored else supervisor.handle_term
        supervisor.handle_hup = answer  # type: ignore[method-assign]
        supervisor.run()


def bounds(limits: Limits) -> dict[str, Any]:
    """Return the options of uvicorn that keep a worker within its limits."""
    return {
        "http": partial(BoundedProtocol, limits=limits),
        "ws": "none",
        "lifespan": "off",
        # of tasks: a client that left does not have a connection, but a task until its turn comes
        "limit_concurrency": limits.connections + 1,
        "log_level": "warning",
    }


def from_environment() -> Starlette:
    """Return the application for the model in the environment."""
    values = json.loads(os.environ[_SERVED])
    served = _Served(**{**values, "limits": Limits(**values["limits"])})
    network = session.load(Path(served.path), sha256=served.sha256, name=served.name)
    return application(network, served.limits)


def application(network: session.Session, limits: Limits) -> Starlette:
    """Return the ASGI application that answers for a network."""
    service = Service(network, limits)
    made = Starlette(
        routes=[
            Route("/invocations", service.invocations, methods=["POST"]),
            Route("/classify", service.classify, methods=["POST"]),
            Route("/", service.page),
            Route("/ping", _alive),
            Route("/health", _alive),
            Route("/version", _version),
        ],
        exception_handlers={
            HTTPException: _refused,
            ClientDisconnect: _left,
            Exception: _failed,
        },
    )
    made.router.redirect_slashes = False  # unknown pages are errors too
    return made


class Service:
    """Answers for a network; all kinds of requests are read, queued and computed alike."""

    def __init__(self, network: session.Session, limits: Limits) -> None:
        self._network = network
        self._limits = limits
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._page = photos.page(network)

    async def invocations(self, request: Request) -> Response:
        """Answer MLflow's `/invocations`."""
        async with self._turn(request) as body:
            _check_type(request.headers.get("content-type", ""))
            return await run_in_threadpool(self._predict, body)

    async def classify(self, request: Request) -> Response:
        """Answer `/classify`: photos in, names of classes and their probabilities out."""
        kind = request.headers.get("content-type", "")
        try:
            photos.check_type(kind)
        except ValueError as error:
            raise HTTPException(415, str(error)) from error
        async with self._turn(request) as body:
            return await run_in_threadpool(self._classify, body, kind)

    async def page(self, _: Request) -> Response:
        """Answer `/`: a page for dropping photos."""
        return HTMLResponse(self._page, headers=_PAGE_HEADERS)

    @asynccontextmanager
    async def _turn(self, request: Request) -> AsyncIterator[bytes]:
        """Yield a request's body when it has arrived and its turn has come; hold the turn.

        Raises:
            HTTPException: it is too large or too slow, or there are too many before it.
            ClientDisconnect: the client has left.
        """
        body = None
        try:
            async with asyncio.timeout(self._limits.seconds):
                body = await _read(request, self._limits.body)
                await self._turns.acquire()
        except TimeoutError as error:
            if body is None:
                raise HTTPException(408, "the request did not arrive in time") from error
            raise HTTPException(503, "too many requests; try again") from error
        try:
            if await request.is_disconnected():
                raise ClientDisconnect
            yield body
        finally:
            self._turns.release()

    def _predict(self, body: bytes) -> Response:
        accepted = self._network.accepted_shape
        try:
            images = tensors.parse(body, accepted)
        except ValueError as error:
            shape = ", ".join(["N", *("any" if size is None else str(size) for size in accepted)])
            wanted = f'{{"inputs": {{"image": ARRAY}}}} with whole numbers 0..255, [{shape}]'
            raise HTTPException(400, f"{error}; send {wanted}") from error
        logits, probabilities = (part.tolist() for part in self._run(images))
        return JSONResponse({"predictions": {"logits": logits, "probabilities": probabilities}})

    def _classify(self, body: bytes, kind: str) -> Response:
        try:
            side, channels = predict.image_form(self._network)
        except InputError as error:
            raise HTTPException(501, str(error)) from error
        try:
            files = photos.parse(body, kind)
            images = np.stack([photos.decode(file, side, channels) for file in files])
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        _, probabilities = self._run(images)
        found = [
            predict.answer(file.name, shares, self._network.classes)
            for file, shares in zip(files, probabilities, strict=True)
        ]
        return JSONResponse({"predictions": [photos.to_json(one) for one in found]})

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return logits and probabilities [N, classes]; a few images are computed at once."""
        size = max(1, _VALUES_AT_ONCE // images[0].size)
        parts = [self._network(images[at : at + size]) for at in range(0, len(images), size)]
        logits, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
        return logits, probabilities


async def _read(request: Request, limit: int) -> bytes:
    """Return a request's body; one over the limit is not kept.

    It is read to its end nevertheless: a client that is still sending would not see the answer.
    """
    body, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            body += part
        else:
            body.clear()
    if size > limit:
        raise HTTPException(413, f"the body is over {limit:,} bytes; send fewer or smaller images")
    return bytes(body)


def _check_type(value: str) -> None:
    """Refuse a content type other than JSON in UTF-8."""
    kind, *parameters = (part.strip().lower() for part in value.split(";"))
    if kind != _JSON or not _UTF_8.issuperset(parameters):
        raise HTTPException(415, "the Content-Type is not JSON in UTF-8; send application/json")


async def _alive(_: Request) -> Response:
    return Response("\n", media_type=_JSON)


async def _version(_: Request) -> Response:
    return Response(importlib.metadata.version("mlflow"), media_type=_JSON)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    content = {"error_code": "BAD_REQUEST", "message": error.detail}
    return JSONResponse(content, error.status_code, error.headers)


async def _left(_: Request, __: Exception) -> Response:
    return Response(status_code=400)


async def _failed(_: Request, __: Exception) -> Response:
    """Do not reveal our own faults; the server's log has the traceback."""
    return JSONResponse({"error_code": "INTERNAL_ERROR", "message": "the server failed"}, 500)
