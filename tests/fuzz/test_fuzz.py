"""Half a minute of `make fuzz`, and the harness on readers that fail."""

import os
import random
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from fuzz import harness
from rolekd.errors import InputError

pytestmark = pytest.mark.timeout(600)

# random cases; the named ones come first
SOME = {"params": 80, "schedules": 150, "logs": 150, "weights": 40, "states": 20, "spools": 20}
SOME |= {"graphs": 40, "images": 60, "requests": 40, "names": 3}


@pytest.mark.parametrize("name", list(harness.TARGETS))
def test_a_reader_refuses_in_one_line_or_reads_what_is_there(name):
    result = harness.fuzz(name, 0, harness.cases(SOME[name]))
    assert result.faults == []
    assert result.counts.total() >= SOME[name]


class Target:
    """A reader that does with "x" what its name says, and refuses everything else."""

    origin = "x"
    named: Mapping[str, harness.Case] = {}

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def case(self, _: random.Random) -> harness.Case:
        return {"x": b""}

    def read(self, _: Path) -> str:
        match self.kind:
            case "accepted":
                return "an answer"
            case "refused":
                raise InputError("x: is none; write another")
            case "unexpected":
                raise KeyError("epoch")
            case "message":
                raise InputError("is none; write another")
            case "wrong":
                raise AssertionError("became another")
            case "differs":
                return str(time.monotonic_ns())
            case "memory":
                return str(len(bytearray(harness.MEMORY + (1 << 27))))
            case "crash":
                os._exit(1)
            case _:
                time.sleep(3600)
                return "never"


@pytest.mark.parametrize("kind", ["accepted", "refused", *harness.FAULTS])
def test_what_a_reader_does_is_seen(monkeypatch, kind):
    if kind == "hang":
        monkeypatch.setattr(harness, "SECONDS", 1.0)
    result = harness.fuzz(f"test_fuzz:{kind}", 0, range(1))
    assert dict(result.counts) == {kind: 1}
