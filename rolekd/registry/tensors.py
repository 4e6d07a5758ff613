"""The JSON of a request as an array of images.

A general reader builds whatever is sent before it can be checked: 8 MB of `[],[],` become
gigabytes. Here the text is reduced to its form, each number a 0, and compared with the form that
its first image implies. Only numbers are built, and only from a body that has that form.
"""

import json
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ENVELOPE_BYTES = 1000  # of a body without its array: names of fields, blanks
_BLANKS = b" \t\r\n"
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_BRACKETS = bytes.maketrans(b"[]{}:", b" " * 5)
_NAME = b'"image"'
_FIELDS = ("inputs", "instances", "dataframe_split", "dataframe_records")
_ARRAY = object()
_ROWS = ("instances", _ARRAY)
_ENVELOPES = (_ROWS, ("inputs", _ARRAY), ("inputs", (("image", _ARRAY),)))
_OTHER = "the body is not a JSON object with inputs or instances and an array"
_UNEVEN = "the array is not of whole numbers, or its images are not of one shape"
_VALUES = "the array has values that are not whole numbers from 0 to 255"


def parse(body: bytes, accepted: Sequence[int | None]) -> NDArray[np.uint8]:
    """Return the images of a body in one of the forms of MLflow's protocol.

    They are `{"inputs": {"image": ARRAY}}`, `{"inputs": ARRAY}`, `{"instances": ARRAY}` and
    `{"instances": [{"image": IMAGE}, ...]}`. There may be other fields, without arrays.

    Args:
        body: JSON in UTF-8.
        accepted: (height, width, channels) that the model takes; None: any.

    Returns:
        uint8 [N, height, width, channels], N at least 1.

    Raises:
        ValueError: it is anything else; the message is one sentence for the client.
    """
    start, end = body.find(b"["), body.rfind(b"]") + 1
    named = _envelope(body[:start], body[end:]) == _ROWS
    text = body[start:end]
    form = text.translate(_ZEROS, _BLANKS).replace(b"000", b"0").replace(b"00", b"0")
    named = named and form.startswith(b"[{")
    shape = _first_shape(form)
    if not _is_array_of(form, shape, named):
        raise ValueError(_UNEVEN)
    if not all(size in (None, found) for size, found in zip(accepted, shape, strict=True)):
        raise ValueError(f"the images have the shape {list(shape)}")
    flat = text.replace(_NAME, b" ").translate(_BRACKETS)
    try:  # bytes takes only whole numbers from 0 to 255
        values = bytes(json.loads(b"[" + flat + b"]"))
    except (ValueError, TypeError) as error:
        raise ValueError(_VALUES) from error
    return np.frombuffer(values, np.uint8).reshape(-1, *shape)


def _envelope(before: bytes, after: bytes) -> object:
    """Return the one MLflow field around the array; others are ignored.

    Raises:
        ValueError: there is none, or more than one.
    """
    if len(before) + len(after) > _ENVELOPE_BYTES:
        raise ValueError(_OTHER)
    places: list[str] = []

    def place(constant: str) -> object:
        places.append(constant)
        return _ARRAY

    try:
        text = before + b"NaN" + after
        found = json.loads(text, parse_constant=place, object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise ValueError(_OTHER) from error
    fields = [pair for pair in found if pair[0] in _FIELDS] if isinstance(found, tuple) else []
    if len(places) != 1 or len(fields) != 1 or fields[0] not in _ENVELOPES:
        raise ValueError(_OTHER)
    return fields[0]


def _first_shape(form: bytes) -> tuple[int, int, int]:
    """Return (height, width, channels) of the first image; zeros where there is none."""
    pixel, row, image = (form.find(b"]" * depth) for depth in (1, 2, 3))
    if image < 0:
        return 0, 0, 0
    return form.count(b"]]", 0, image + 2), form.count(b"]", 0, row + 1), form.count(b"0", 0, pixel)


def _is_array_of(form: bytes, shape: Sequence[int], named: bool) -> bool:
    """Return whether a form is an array of one or more images, plain or each with its name."""
    if not 0 < 2 * math.prod(shape) < len(form):  # so that larger forms are not built
        return False
    image = b"0"
    for size in reversed(shape):
        image = b"[" + b",".join([image] * size) + b"]"
    if named:
        image = b"{" + _NAME + b":" + image + b"}"
    images, rest = divmod(len(form) - 1, len(image) + 1)
    return rest == 0 and form == b"[" + b",".join([image] * images) + b"]"
