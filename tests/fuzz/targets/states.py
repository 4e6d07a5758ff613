"""Training states: `rolekd.train.fit.fit`, which must end in the same weights whatever it finds."""

import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fuzz import examples, mutations
from fuzz.harness import Case, Special
from fuzz.targets.weights import _packed, _split
from rolekd.data.batches import Batches, Normalize
from rolekd.distill.objective import Objective
from rolekd.params import BaseAugmentParams
from rolekd.train import fit as fitting
from rolekd.train import roles
from rolekd.train.augmentation import constant, make_engine

FILE = "training.safetensors"


class Target:
    """The state of a training of three epochs after its first, damaged."""

    origin = FILE

    def __init__(self) -> None:
        torch.set_num_threads(1)
        fitting._SECONDS_BETWEEN_SAVES = -1.0
        self._dataset = examples.dataset()
        self._wanted, self._state = self._after_first(0)
        header, _ = _split(self._state)
        headers = {
            "nearly done": _of_training(self._state, "epoch", 999),
            "done": _of_training(self._state, "epoch", examples.EPOCHS),
            "before the first": _of_training(self._state, "epoch", -1),
            "an epoch of a text": _of_training(self._state, "epoch", "1"),
            "another rate": _of_training(self._state, "groups", []),
            "no history": _of_training(self._state, "history", []),
        }
        self.named: Mapping[str, Case] = {
            **{name: {FILE: content} for name, content in headers.items()},
            "whole": {FILE: self._state},
            "none": {},
            "of another seed": {FILE: self._after_first(1)[1]},
            "weights alone": {FILE: _packed(json.dumps({**header, "__metadata__": {}}).encode())},
            "a header of 2**63 bytes": {FILE: struct.pack("<Q", 2**63) + self._state[8:]},
            "nothing": {FILE: b""},
            "a FIFO": {FILE: Special()},
            "endless": {FILE: Special("/dev/zero")},
            "a folder": {f"{FILE}/x": b""},
        }

    def case(self, chance: random.Random) -> Case:
        """Return a state, damaged."""
        kind = chance.random()
        if kind < 0.5:
            header, rest = _split(self._state)
            for key, text in header["__metadata__"].items():
                try:
                    value = json.loads(text)
                except ValueError:
                    value = text
                header["__metadata__"][key] = json.dumps(mutations.in_value(value, chance))
            return {FILE: _packed(json.dumps(header).encode()) + rest}
        if kind < 0.6:
            header, rest = _split(self._state)
            changed = json.dumps(mutations.in_value(header, chance))
            return {FILE: _packed(changed.encode(errors="replace")) + rest}
        return {FILE: mutations.in_bytes(self._state, chance)}

    def read(self, folder: Path) -> str:
        """Train from it; the end must be that of a training that nothing disturbed."""
        found = self._train(folder / FILE, 0)
        assert found == self._wanted, "other weights than those of an undisturbed training"
        return "the same weights"

    def _train(self, path: Path, seed: int, reporters: tuple[Any, ...] = ()) -> dict[str, bytes]:
        network, _ = roles.teacher(examples.TEACHER, self._dataset, seed)
        training = examples.TRAINING
        fitting.fit(
            network,
            Batches(self._dataset, "train", training.batch_size, seed, Normalize(self._dataset)),
            constant(make_engine(BaseAugmentParams(), self._dataset, 1), None),
            Objective(),
            training,
            state_file=path,
            reporters=reporters,
        )
        return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}

    def _after_first(self, seed: int) -> tuple[dict[str, bytes], bytes]:
        """Train undisturbed; return the weights, and the state after the first epoch."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            kept = _Kept(Path(folder) / FILE)
            return self._train(kept.path, seed, (kept,)), kept.content


class _Kept:
    """A reporter that keeps the state of the first epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = b""

    def epoch(self, _: Mapping[str, float], step: int) -> None:
        """Read the state when the second epoch is over, before it is saved."""
        if step == 1:
            self.content = self.path.read_bytes()


def _of_training(content: bytes, key: str, value: object) -> bytes:
    """Return a state that says something else of its training."""
    header, rest = _split(content)
    for name, text in header["__metadata__"].items():
        said = json.loads(text) if text.startswith("{") else {}
        if key in said:
            header["__metadata__"][name] = json.dumps({**said, key: value})
    return _packed(json.dumps(header).encode()) + rest
