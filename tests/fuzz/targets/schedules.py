"""Schedules: `rolekd.augment.schedule.load`, against the JSON that the file holds."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuzz import mutations
from fuzz.harness import Case, Special
from rolekd.augment.policy import OPERATIONS
from rolekd.augment.schedule import load

FILE = "schedule.json"


def _example(**changes: Any) -> dict[str, Any]:
    policies = [[0, [0] * 60], [3, [value % 10 for value in range(60)]], [7, [9] * 60]]
    operations = list(OPERATIONS)
    whole = {"version": 1, "epochs": 10, "operations": operations, "segments": policies}
    return whole | changes


_NAMED: dict[str, Any] = {
    "a version of true": _example(version=True),
    "a version of 1.0": _example(version=1.0),
    "a number of epochs that is a truth": _example(epochs=True),
    "epochs without end": _example(epochs=10**400),
    "a key of controls": _example(**{"\x1b]0;x\x07\n": 1}),
    "a version of controls": _example(version="\x1b]0;x\x07"),
    "nested": _example(segments=mutations.nested(900)),
    "a long text": _example(version="x" * 1_000_000),
}
_TEXTS = {
    "nothing": b"",
    "nested deeply": b"[" * 100_000,
    "digits": b'{"version": ' + b"9" * 100_000 + b"}",
    "a key twice": json.dumps(_example()).replace('"epochs": 10', '"epochs": 8, "epochs": 10'),
    "not a number": json.dumps(_example()).replace("10", "NaN", 1),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(_example()).encode(),
    "zeros": bytes(1000),
    "not UTF-8": b"\xff\xfe",
}


class Target:
    """A schedule of three segments, damaged as a value and as bytes."""

    origin = FILE
    named: Mapping[str, Case] = {
        **{name: {FILE: json.dumps(value).encode()} for name, value in _NAMED.items()},
        **{
            name: {FILE: text.encode() if isinstance(text, str) else text}
            for name, text in _TEXTS.items()
        },
        "a FIFO": {FILE: Special()},
        "endless": {FILE: Special("/dev/zero")},
    }

    def case(self, chance: random.Random) -> Case:
        """Return the file, damaged."""
        if chance.random() < 0.7:
            return {FILE: json.dumps(mutations.in_value(_example(), chance)).encode()}
        return {FILE: mutations.in_bytes(json.dumps(_example()).encode(), chance)}

    def read(self, folder: Path) -> str:
        """Load it; what was accepted must be what the file says."""
        found = json.dumps(load(folder / FILE).to_json(), sort_keys=True)
        said = json.loads((folder / FILE).read_bytes(), object_pairs_hook=_unique)
        assert found == json.dumps(said, sort_keys=True), "is not what the file says"
        return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a key twice"
    return dict(pairs)
