"""Serving a registered version over HTTP: MLflow's scoring server, and what its door lacks.

Protocol and prediction are MLflow's (`/invocations`, `/ping`, `/version`), so a client need not
know who answers. `mlflow models serve` answers some bad requests with 500, reads bodies of any
size, echoes them in its errors, and cuts 0.7 to 0 where a byte is wanted. All of that happens
before a model is asked, where no wrapper of a registered model reaches; so it is mended here.
"""

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from fastapi import FastAPI
    from mlflow.pyfunc import PyFuncModel

_MODEL, _LIMIT = "ROLEKD_SERVED_MODEL", "ROLEKD_SERVED_BYTES"


def serve(model: Path, host: str, port: int, workers: int, limit: int) -> None:
    """Answer until interrupted.

    Args:
        model: folder of a registered version, see `registry.fetch`.
        host: address to listen on.
        port: of it.
        workers: processes; each holds the model.
        limit: largest body of a request, in bytes.
    """
    import uvicorn

    # uvicorn's workers are processes that find what to serve in the environment
    os.environ |= {_MODEL: str(model), _LIMIT: str(limit)}
    uvicorn.run(
        f"{__name__}:application",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_level="warning",
    )


def application() -> "FastAPI":
    """Return MLflow's scoring application for the model in the environment, behind the door."""
    from mlflow.pyfunc import load_model, scoring_server

    made: FastAPI = scoring_server.init(Bytes(load_model(os.environ[_MODEL])))
    made.add_middleware(Door, limit=int(os.environ[_LIMIT]))
    return made


class Door:
    """ASGI middleware: what no model could answer gets a 4xx and one sentence."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        body = await _read(receive, self._limit)
        if body is None:
            answer = _refusal(413, f"the body is over {self._limit:,} bytes; send fewer images")
        elif "content-type" not in Headers(scope=scope):
            answer = _refusal(415, "no Content-Type; send application/json")
        else:
            try:
                return await self._app(scope, _replay(body, receive), send)
            except Exception:
                if _is_json(body):
                    raise
                answer = _refusal(400, "the body is no JSON that can be read")
        return await answer(scope, receive, send)


class Bytes:
    """A pyfunc model of uint8 images that takes whole numbers from 0 to 255 and nothing else.

    It shows MLflow's parser no schema, since that would cast what a client sent before anybody
    could look at it; the schema of the model is enforced afterwards, as ever.
    """

    def __init__(self, model: "PyFuncModel") -> None:
        self._model = model
        self.metadata = copy.copy(model.metadata)
        self.metadata.signature = None
        self._names = model.metadata.get_input_schema().input_names()

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Return the model's answer.

        Raises:
            MlflowException: the input is none; the server answers 400.
        """
        if isinstance(data, np.ndarray):
            data = {self._names[0]: data}
        if isinstance(data, Mapping):
            data = {name: _as_bytes(name, value) for name, value in data.items()}
        return self._model.predict(data, params=params)


def _as_bytes(name: str, value: Any) -> NDArray[np.uint8]:
    from mlflow.exceptions import MlflowException

    values = np.asarray(value)
    if values.size == 0:
        raise MlflowException.invalid_parameter_value(f"{name}: no images")
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
        raise MlflowException.invalid_parameter_value(
            f"{name}: not an array of whole numbers from 0 to 255"
        )
    return values.astype(np.uint8)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """Return a request's body; of one over the limit nothing is kept, and None returned.

    It is read to its end all the same: a client that still sends would not see the answer.
    """
    body, size = bytearray(), 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if size <= limit:
            body += message.get("body", b"")
        else:
            body.clear()
        if not message.get("more_body", False):
            return bytes(body) if size <= limit else None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read already, then what comes after it."""
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed


def _refusal(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error_code": "BAD_REQUEST", "message": reason}, status)


def _is_json(body: bytes) -> bool:
    """Tell whether Python can read it: nesting and digits have limits that JSON does not know."""
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
