"""Weights: `rolekd.train.roles.load`, against the file's own header."""

import hashlib
import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fuzz import examples, mutations
from fuzz.harness import Case, Special
from rolekd.data.batches import Normalize
from rolekd.train import roles, state

FILE = "weights.safetensors"
_QUANTIZATION = {"quantizer", "weight_bits", "activation_bits", "residual", "overrides"}
_NETWORK = {"role", "model", "width", "classes", "channels", "image_size"}


class Target:
    """A teacher's and a student's weights, damaged in the header, the description and the bytes."""

    origin = FILE

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._dataset = examples.dataset()
        teacher, teacher_about = roles.teacher(examples.TEACHER, self._dataset, 0)
        student, student_about = roles.student(examples.STUDENT, self._dataset, 0, teacher)
        self._examples = [_saved(teacher, teacher_about), _saved(student, student_about)]
        self._images = Normalize(self._dataset)(self._dataset.images[:4])
        whole = self._examples[1]
        changes: dict[str, dict[str, Any]] = {
            "no quantiser": {"quantizer": None},
            "no role": {"role": None},
            "another role": {"role": "teacher"},
            "a text of bits": {"weight_bits": "2"},
            "bits of true": {"weight_bits": True},
            "many bits": {"weight_bits": 10**9},
            "a wide network": {"width": 10**9},
            "a width of half": {"width": 2.5},
            "a foreign network": {"model": "torchvision:resnet50"},
            "a module": {"model": "os:system"},
            "an unknown key": {"loader_module": "os"},
            "patterns": {"overrides": {"(" * 1000: 2}},
            "large images": {"image_size": [10**9, 10**9]},
        }
        self.named: Mapping[str, Case] = {
            **{name: {FILE: _described(whole, change)} for name, change in changes.items()},
            "a header of 2**63 bytes": {FILE: struct.pack("<Q", 2**63) + whole[8:]},
            "nothing": {FILE: b""},
            "a pickle": {FILE: b"\x80\x04."},
            "a zip": {FILE: b"PK\x03\x04" + bytes(100)},
            "a header alone": {FILE: struct.pack("<Q", 2) + b"{}"},
            "nested": {FILE: _packed(b'{"a":' * 5000 + b"1" + b"}" * 5000)},
            "a FIFO": {FILE: Special()},
            "endless": {FILE: Special("/dev/zero")},
            "a folder": {f"{FILE}/x": b""},
        }

    def case(self, chance: random.Random) -> Case:
        """Return a file, damaged."""
        whole, kind = chance.choice(self._examples), chance.random()
        if kind < 0.4:
            header, rest = _split(whole)
            about = json.loads(header["__metadata__"]["about"])
            text = json.dumps(mutations.in_value(about, chance))
            header["__metadata__"]["about"] = text
            return {FILE: _packed(json.dumps(header).encode()) + rest}
        if kind < 0.6:
            header, rest = _split(whole)
            changed = json.dumps(mutations.in_value(header, chance))
            return {FILE: _packed(changed.encode(errors="replace")) + rest}
        return {FILE: mutations.in_bytes(whole, chance)}

    def read(self, folder: Path) -> str:
        """Load them; an accepted network must be the one that the description says."""
        network, about = roles.load(folder / FILE, self._dataset)
        said = json.loads(_split((folder / FILE).read_bytes())[0]["__metadata__"]["about"])
        keys = set(said)
        assert keys >= _NETWORK, f"the description lacks {_NETWORK - keys}"
        wanted = _QUANTIZATION if said["role"] == "student" else set()
        assert keys & _QUANTIZATION == wanted, f"a {said['role']} with {keys & _QUANTIZATION}"
        assert all(type(said[key]) is int for key in ("width", "classes", "channels"))
        with torch.no_grad():
            answer = network(self._images).numpy().tobytes()
        return f"{about} {hashlib.sha256(answer).hexdigest()}"


def _saved(network: torch.nn.Module, about: dict[str, Any]) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        state.save_weights(Path(folder) / FILE, network, about)
        return (Path(folder) / FILE).read_bytes()


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a safetensors file's header and the rest."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _packed(header: bytes) -> bytes:
    padded = header + b" " * (-len(header) % 8)
    return struct.pack("<Q", len(padded)) + padded


def _described(content: bytes, changes: dict[str, Any]) -> bytes:
    """Return a weights file with another description; None removes a key."""
    header, rest = _split(content)
    about = json.loads(header["__metadata__"]["about"]) | changes
    kept = {key: value for key, value in about.items() if value is not None}
    header["__metadata__"]["about"] = json.dumps(kept)
    return _packed(json.dumps(header).encode()) + rest
