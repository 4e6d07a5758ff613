"""Bodies of requests: right ones become the arrays they mean, of others nothing is built."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from rolekd.registry.tensors import parse

ANY = (None, None, None)
FORMS = {
    "named": lambda images: {"inputs": {"image": images}},
    "bare": lambda images: {"inputs": images},
    "instances": lambda images: {"instances": images},
    "rows": lambda images: {"instances": [{"image": image} for image in images]},
    "other fields": lambda images: {"params": {"a": 1}, "inputs": images, "id": None},
}
SHAPES = st.tuples(*[st.integers(1, 3)] * 4)


def _meant(body: bytes) -> NDArray | None:
    """Return what a general reader finds in a body; None if it is not what a model takes."""
    try:
        content = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    fields = [content[key] for key in ("inputs", "instances") if key in content]
    if len(fields) != 1 or content.keys() & {"dataframe_split", "dataframe_records"}:
        return None
    (value,) = fields
    if "inputs" in content and isinstance(value, dict):
        value = value["image"] if value.keys() == {"image"} else None
    if "instances" in content and isinstance(value, list):
        named = [isinstance(row, dict) and row.keys() == {"image"} for row in value]
        value = [row["image"] for row in value] if all(named) else value
    try:
        found = np.array(value)
    except ValueError:
        return None
    if found.ndim != 4 or found.size == 0 or found.dtype.kind not in "iu":
        return None
    return found if found.min() >= 0 and found.max() <= 255 else None


def _once(pairs: list) -> dict:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


@given(
    arrays(np.uint8, SHAPES),
    st.sampled_from(sorted(FORMS)),
    st.sampled_from([None, 0, 2, "\t"]),
    st.sampled_from([(",", ":"), (", ", ": "), (" \n,\r\t", " : ")]),
)
def test_every_form_and_layout(
    images: NDArray[np.uint8], form: str, indent: int | str | None, separators: tuple[str, str]
) -> None:
    text = json.dumps(FORMS[form](images.tolist()), indent=indent, separators=separators)
    for accepted in (images.shape[1:], ANY, (None, None, images.shape[3])):
        np.testing.assert_array_equal(parse(text.encode(), accepted), images)


@given(
    st.sampled_from(sorted(FORMS)),
    st.lists(
        st.tuples(
            st.integers(0, 10_000),
            st.integers(0, 3),
            st.sampled_from([b"", *(bytes([one]) for one in b'[]{},:"0123456789 -+.eNn\n\0\xff')]),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_an_edited_body_means_the_same_as_to_a_general_reader_or_nothing(
    form: str, edits: list[tuple[int, int, bytes]]
) -> None:
    body = json.dumps(FORMS[form]([[[[0], [17]]], [[[255], [3]]]])).encode()
    for place, length, new in edits:
        place %= len(body)
        body = body[:place] + new + body[place + length :]
    wanted = _meant(body)
    try:
        found = parse(body, ANY)
    except ValueError:
        # a general reader ignores what other fields hold; here they may not hold arrays
        assert wanted is None or form == "other fields" or body.count(b"[") > 7
        return
    assert wanted is not None
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": null, "x": [[[[1]]]]}',
        b'{"inputs": NaN, "x": [[[[1]]]]}',
        b'{"inputs": [[[[1]]]], "inputs": [[[[2]]]]}',
        b'{"inputs": [[[[1]]]], "instances": 1}',
        b'{"inputs": [[[[1]]]], "dataframe_split": {}}',
        b'{"inputs": [{"image": [[[1]]]}]}',
        b'{"instances": [{"image": [[[1]]]}, [[[1]]]]}',
        b'{"instances": [{"im age": [[[1]]]}]}',
        b'{"inputs": "[[[[1]]]]"}',
        b'{"inputs": [[[[]]]]}',
        b'{"inputs": [[[[1 2]]]]}',
        b'{"inputs": [[[[01]]]]}',
        b'{"inputs": [1[[[]]]]}',
        b'{"inputs": [[[[1000]]]]}',
        b'{"inputs": [[[[256]]]]}',
        b'{"inputs": [[[[1],[2]],[[3]]]]}',
        b"[[[[1]]]]",
    ],
)
def test_what_is_close_to_right(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"the (body|array)"):
        parse(body, ANY)


def test_another_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"the images have the shape \[1, 2, 1\]"):
        parse(b'{"inputs": [[[[1], [2]]]]}', (2, 1, 1))


MEGABYTE = 10**6
LARGE = {
    "empty lists": b"[]," * (MEGABYTE // 3),
    "deep": b"[" * (MEGABYTE // 2) + b"]" * (MEGABYTE // 2),
    "objects": b'[{"a":0}],' * (MEGABYTE // 10),
    "numbers": b"256," * (MEGABYTE // 4),
    "a text": b'"' + b"x" * MEGABYTE + b'"',
    "digits": b"9" * MEGABYTE,
    # whose first pixel, row and image promise 10**15 values
    "a promise": b"[[[["
    + b"0," * 10**5
    + b"0]"
    + b",[0]" * 10**5
    + b"]"
    + b",[[0]]" * 10**5
    + b"]",
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("head", [b'{"inputs": [', b'{"inputs": {"image": [', b"", b'{"x": '])
def test_of_a_large_wrong_body_little_is_built(name: str, head: bytes) -> None:
    body = head + LARGE[name] + b"]" * head.count(b"[") + b"}" * head.count(b"{")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="the "):
            parse(body, ANY)
        assert tracemalloc.get_traced_memory()[1] < 16 * MEGABYTE
    finally:
        tracemalloc.stop()
