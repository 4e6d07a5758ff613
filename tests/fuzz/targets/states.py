"""Training states: `rolekd.train.fit`, which must end in the same weights whatever it finds."""

import json
import random
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from fuzz import examples, mutations
from fuzz.harness import Case, Special
from fuzz.targets.weights import _packed, _split
from rolekd.data.batches import Batches, Normalize
from rolekd.distill.objective import Objective
from rolekd.params import BaseAugmentParams
from rolekd.train import roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.fit import fit
from rolekd.train.training import Training

FILE = "training.safetensors"


class Target:
    """The state of a training of three epochs after its first, damaged."""

    origin = FILE

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._dataset = examples.dataset()
        self._state = self._after_first(0)
        with tempfile.TemporaryDirectory() as folder:
            self._wanted = self._train(Path(folder) / FILE)
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
            "of another seed": {FILE: self._after_first(1)},
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
        found = self._train(folder / FILE)
        assert found == self._wanted, "other weights than those of an undisturbed training"
        return "the same weights"

    def _training(self, seed: int) -> Training:
        network, _ = roles.teacher(examples.TEACHER, self._dataset, seed)
        size, normalize = examples.TRAINING.batch_size, Normalize(self._dataset)
        return Training(
            network,
            Objective(),
            Batches(self._dataset, "train", size, seed, normalize),
            constant(make_engine(BaseAugmentParams(), self._dataset, 1), None),
            examples.TRAINING,
        )

    def _train(self, path: Path) -> dict[str, bytes]:
        """Train to the end; return the weights."""
        training = self._training(0)
        fit(training, path)
        weights = training.network.state_dict()
        return {name: value.numpy().tobytes() for name, value in weights.items()}

    def _after_first(self, seed: int) -> bytes:
        """Return the state of a training after its first epoch."""
        training = self._training(seed)
        training.prepare()
        training.run_epoch()
        with tempfile.TemporaryDirectory() as folder:
            training.save(Path(folder) / FILE)
            return (Path(folder) / FILE).read_bytes()


def _of_training(content: bytes, key: str, value: object) -> bytes:
    """Return a state that says something else of its training."""
    header, rest = _split(content)
    for name, text in header["__metadata__"].items():
        said = json.loads(text) if text.startswith("{") else {}
        if key in said:
            header["__metadata__"][name] = json.dumps({**said, key: value})
    return _packed(json.dumps(header).encode()) + rest
