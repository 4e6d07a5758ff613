"""Requests to the serving application: refused in one sentence, or answered as the network says."""

import asyncio
import io
import json
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fuzz import mutations
from fuzz.harness import Case, Refused
from fuzz.targets import graphs
from rolekd.export import session
from rolekd.registry import serving
from rolekd.registry.connections import Limits
from rolekd.sources import images

BODY, HEAD = "body", "head.json"
LIMITS = Limits(body=8 << 20, connections=8, seconds=20.0)
_JSON = {"method": "POST", "path": "/invocations", "headers": {"content-type": "application/json"}}
_TYPES = (
    *("application/json", "application/json; charset=utf-8", "application/json; charset=utf-16"),
    *("text/csv", "text/plain", "application/vnd.apache.parquet", "multipart/form-data", ""),
    *("image/png", "application/json; x", "\x1b[31m", "application/json\r\nx: y", "a" * 10_000),
)
_CLASSIFY = "/classify"
_BOUNDARY = b"a-line-between"
_PATHS = (
    *(
        "/invocations",
        "/classify",
        "/ping",
        "/health",
        "/version",
        "/",
        "/docs",
        "/openapi.json",
        "/redoc",
    ),
    *("/invocations/", "/invocations?x=1", "/../etc/passwd", "/\x00", "/%2e%2e", "/metrics"),
)


class Target:
    """Bodies of the three protocols, damaged; heads, damaged now and then."""

    origin = ""

    def __init__(self) -> None:
        self._images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / graphs.FILE
            path.write_bytes(graphs.exported()[0])
            self._network = session.load(path)
        self._loop = asyncio.new_event_loop()
        self._application = serving.application(self._network, LIMITS)
        array = self._images.tolist()
        self._bodies: list[Any] = [
            {"inputs": {"image": array}},
            {"inputs": array},
            {"instances": array},
            {"instances": [{"image": image} for image in array]},
        ]
        file = io.BytesIO()
        Image.fromarray(self._images[0, ..., 0]).save(file, "PNG")
        self._photo = file.getvalue()
        part = b'--%s\r\nContent-Disposition: form-data; name="i"; filename="%s"\r\n\r\n%s\r\n'
        self._form = b"".join(
            part % (_BOUNDARY, name, self._photo) for name in (b"one.png", b"two.png")
        )
        self._form += b"--%s--\r\n" % _BOUNDARY
        columns = ",".join(str(number) for number in range(20_000)).encode()
        bodies = {
            "empty lists": b'{"inputs": [' + b"[]," * 2_700_000 + b"[]]}",
            "empty lists of a name": b'{"inputs": {"image": [' + b"[]," * 2_700_000 + b"[]]}}",
            "empty objects": b'{"inputs": [' + b"{}," * 2_700_000 + b"{}]}",
            "numbers": b'{"inputs": [' + b"0," * 4_000_000 + b"0]}",
            "texts": b'{"inputs": [' + b'"",' * 2_700_000 + b'""]}',
            "keys": b"{" + b",".join(b'"%d":0' % i for i in range(500_000)) + b"}",
            "nested": b'{"inputs": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
            "open": b"[" * 8_000_000,
            "digits": b'{"inputs": [' + b"9" * 1_000_000 + b"]}",
            "an exponent": b'{"inputs": [1e999999999]}',
            "a split table": b'{"dataframe_split": {"columns": ["image"], "data": [[1]]}}',
            "blanks": b" " * 8_000_000,
            "nothing": b"",
            "not UTF-8": b"\xff\xfe{}",
            "a name twice": json.dumps(self._bodies[1])[:-1].encode() + b', "inputs": []}',
        }
        self.named: Mapping[str, Case] = {
            **{name: _case(body, {}) for name, body in bodies.items()},
            "a CSV of columns": _case(columns, {"headers": {"content-type": "text/csv"}}),
            "a broken CSV": _case(b'a,b\n1,2,3\n"', {"headers": {"content-type": "text/csv"}}),
            "a large body": _case(b'"' + b"x" * 9_000_000 + b'"', {}),
            "a photo": _photo(self._photo),
            "a form": _form(self._form),
            "a form of many files": _form(self._form[: self._form.index(b"--", 2)] * 10_000),
            "a form of blank lines": _form(b"--%s\r\n" % _BOUNDARY + b"\r\n" * 3_000_000),
            "a form of headers": _form(b"--%s\r\n" % _BOUNDARY + b"a: b\r\n" * 1_000_000),
            "a form of blanks": _form((b"\r\n--%s" % _BOUNDARY + b" " * 1000) * 7_000),
            "their documentation": _case(b"", {"method": "GET", "path": "/docs"}),
            "their description": _case(b"", {"method": "GET", "path": "/openapi.json"}),
        }

    def case(self, chance: random.Random) -> Case:
        """Return a request, damaged."""
        if chance.random() < 0.3:
            if chance.random() < 0.3:
                return _photo(mutations.in_bytes(self._photo, chance))
            return _form(mutations.in_bytes(self._form, chance))
        value = chance.choice(self._bodies)
        head: dict[str, Any] = {}
        if chance.random() < 0.15:
            head["headers"] = {"content-type": chance.choice(_TYPES)}
        if chance.random() < 0.1:
            head["path"] = chance.choice(_PATHS)
        if chance.random() < 0.05:
            head["method"] = chance.choice(("GET", "PUT", "HEAD", "OPTIONS", "DELETE", "X"))
        if chance.random() < 0.5:
            return _case(json.dumps(mutations.in_value(value, chance)).encode(), head)
        return _case(mutations.in_bytes(json.dumps(value).encode(), chance), head)

    def read(self, folder: Path) -> str:
        """Ask the application; what is answered is what the network says of the body's images."""
        body = (folder / BODY).read_bytes()
        head = json.loads((folder / HEAD).read_bytes())
        status, answer = self._loop.run_until_complete(self._ask(head, body))
        text = answer.decode()
        if status >= 400:
            assert status < 500, f"{status}: {text:.200}"
            assert "Traceback" not in text, "a trace"
            assert 'File "' not in text, "a trace"
            raise Refused(str(status) if head["method"] == "HEAD" or not text else text.strip())
        assert status == 200, f"status {status}"
        if head["path"] == _CLASSIFY:
            told = json.loads(text)["predictions"]
            assert all(np.isclose(sum(one["probabilities"].values()), 1) for one in told)
            if "image/png" in head["headers"].values():
                pixels = images.read(io.BytesIO(body), 8, 1)
                wanted = self._network(pixels[np.newaxis])[1].max()
                assert np.isclose(told[0]["probability"], wanted, atol=1e-6), "not what it says"
        elif head["method"] == "POST":
            found = json.loads(text)["predictions"]["logits"]
            wanted = self._network(_images(json.loads(body)))[0]
            assert found == wanted.tolist(), "not what the network says"
        else:
            assert head["path"] in ("/", "/ping", "/health", "/version"), (
                f"{head['path']} is answered"
            )
        return text

    async def _ask(self, head: dict[str, Any], body: bytes) -> tuple[int, bytes]:
        path, _, query = head["path"].partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": head["method"],
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in head["headers"].items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        parts = [body[at : at + 65_536] for at in range(0, len(body), 65_536)] or [b""]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if parts:
                part = parts.pop(0)
                return {"type": "http.request", "body": part, "more_body": bool(parts)}
            await asyncio.sleep(3600)
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._application(scope, receive, send)  # type: ignore[arg-type]
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], answer


def _case(body: bytes, head: dict[str, Any]) -> Case:
    return {BODY: body, HEAD: json.dumps({**_JSON, **head}).encode()}


def _photo(body: bytes) -> Case:
    return _case(body, {"path": _CLASSIFY, "headers": {"content-type": "image/png"}})


def _form(body: bytes) -> Case:
    kind = f"multipart/form-data; boundary={_BOUNDARY.decode()}"
    return _case(body, {"path": _CLASSIFY, "headers": {"content-type": kind}})


def _images(value: Any) -> np.ndarray[Any, Any]:
    """Return the images of a body, read as the protocol says; whole numbers from 0 to 255 only."""
    array = value["inputs"] if "inputs" in value else value["instances"]
    if isinstance(array, dict):
        (array,) = array.values()
    if isinstance(array[0], dict):
        array = [image for row in array for image in row.values()]
    found = np.array(array)
    assert found.dtype.kind == "i", f"values of type {found.dtype} are answered"
    assert found.min() >= 0, "a negative number is answered"
    assert found.max() <= 255, "a number over 255 is answered"
    return found.astype(np.uint8)
