"""The photos of a request: image files, decoded as the training data were."""

import io
from importlib import resources
from typing import Any, NamedTuple

import jinja2
import numpy as np
from numpy.typing import NDArray
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, File, MultipartDecoder

from rolekd.display import shown
from rolekd.errors import InputError
from rolekd.export.predict import Prediction, image_form
from rolekd.export.session import Session
from rolekd.sources import images

MOST_FILES = 32  # of a request: each may take a second to decode
_FORM = "multipart/form-data"


class Photo(NamedTuple):
    """A file of a request; its name may be empty."""

    name: str
    content: bytes


def check_type(value: str) -> None:
    """Refuse a Content-Type that is not for images.

    Raises:
        ValueError: the message is one sentence for the client.
    """
    kind, _ = _media_type(value)
    if not (kind.startswith("image/") or kind == _FORM):
        raise ValueError(
            f"the Content-Type is not that of images; send image/jpeg, image/png or {_FORM}"
        )


def parse(body: bytes, value: str) -> list[Photo]:
    """Return the files of a body: the body itself, or the files of a form, whatever its fields.

    Args:
        body: of the request.
        value: its Content-Type, accepted by `check_type`.

    Raises:
        ValueError: there are none or too many; the message is one sentence for the client.
    """
    kind, options = _media_type(value)
    if kind != _FORM:
        return [Photo("", body)]
    boundary = options.get("boundary", "").encode("latin-1", "replace")
    try:
        found = _files(body, boundary)
    except RequestEntityTooLarge as error:
        raise ValueError(f"the form has more than {MOST_FILES} parts; send fewer images") from error
    except (ValueError, AttributeError, UnicodeError) as error:
        raise ValueError(f"the body is not a whole {_FORM}; send each image as a file") from error
    if not found:
        raise ValueError("the form holds no file; send each image as a file")
    return found


def _media_type(value: str) -> tuple[str, dict[str, str]]:
    """Return the type that a Content-Type names, in lower case, and its parameters."""
    kind, options = parse_options_header(value)
    return kind.lower(), options


def _files(body: bytes, boundary: bytes) -> list[Photo]:
    if not boundary:
        raise ValueError("no boundary")
    decoder = MultipartDecoder(boundary, max_parts=MOST_FILES)
    decoder.receive_data(body)
    decoder.receive_data(None)
    found: list[tuple[str, bytearray]] = []
    in_file = False
    while not isinstance(event := decoder.next_event(), Epilogue):
        if isinstance(event, Data):
            if in_file:
                found[-1][1].extend(event.data)
        elif in_file := isinstance(event, File):
            found.append((event.filename, bytearray()))
    # a form without a chosen file has a file without name and content
    return [Photo(name, bytes(content)) for name, content in found if name or content]


def decode(photo: Photo, side: int, channels: int) -> NDArray[np.uint8]:
    """Return a photo as uint8 [side, side, channels], by the rule of the training data.

    Raises:
        ValueError: it cannot be read; the message is one sentence for the client.
    """
    try:
        return images.read(io.BytesIO(photo.content), side, channels)
    except images.UnreadableError as error:
        name = shown(photo.name, 100) or "the image"
        raise ValueError(f"{name}: cannot be read: {error}") from error


def to_json(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as the answer to a request."""
    return {
        "image": prediction.image or None,
        "class": prediction.label,
        "probability": prediction.probability,
        "probabilities": prediction.probabilities,
    }


def page(network: Session) -> str:
    """Return the HTML page for dropping photos; it does not load anything from elsewhere."""
    text = resources.files("rolekd.registry").joinpath("classify.html").read_text(encoding="utf-8")
    try:
        side, _ = image_form(network)
        facts = {"side": side, "classes": len(network.classes), "fault": ""}
    except InputError as error:
        facts = {"side": 0, "classes": 0, "fault": shown(error)}
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(text).render(name=shown(network.origin), **facts)
