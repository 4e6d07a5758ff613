"""Training states that are damaged, or of another training: set aside, and trained anew."""

import errno
import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from rolekd.data import dataset as datasets
from rolekd.data.batches import Batches, Normalize
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.errors import RunError
from rolekd.params import DistillParams, ModelParams, StudentParams, TeacherParams, TrainingParams
from rolekd.train import fingerprint, roles, state
from rolekd.train.fit import fit
from rolekd.train.state import StateError
from rolekd.train.training import Training

SPLITS = ("search_train", "search_val", "train", "test")
PARAMS = TrainingParams(epochs=3, batch_size=16, learning_rate=1e-2, optimizer="adam")


def _images(seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (48, 4, 4, 1), dtype=np.uint8)
    splits = dict.fromkeys(SPLITS, np.arange(48))
    return datasets.assemble("noise", images, np.arange(48) % 3, tuple("abc"), splits)


def _batches(seed=0, images=0):
    data = _images(images)
    return Batches(data, "train", 16, seed, Normalize(data))


def _network(width=5):
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Linear(width, 3))


def _plain(_epoch):
    return lambda images, _seed, _places: images


def _training(batches=None, params=PARAMS):
    batches = batches or _batches()
    return Training(_network(), Objective(), batches, _plain, params)


def _fit(path, **changed):
    training = _training(**changed)
    return fit(training, path), _weights(training)


def _weights(training):
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def _equal(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing disturbed: its rows, its weights, and the bytes of its state."""
    path = tmp_path_factory.mktemp("whole") / "training.safetensors"
    rows, weights = _fit(path)
    return SimpleNamespace(rows=rows, weights=weights, content=path.read_bytes(), path=path)


def _rewritten(path, change):
    """Change the header of a state as its own writer would: the checksum is right again."""
    tensors, metadata = state.read(path)
    header = json.loads(metadata["training"].partition(" ")[2])
    change(header, tensors)
    text = json.dumps(header)
    metadata = {"training": f"{state._checksum(text, tensors)} {text}"}
    save_file(tensors, path, metadata=metadata)


def _hand_edited(path):
    tensors, metadata = state.read(path)
    text = metadata["training"].replace('"epoch": 2', '"epoch": 999')
    save_file(tensors, path, metadata={"training": text})


def _too_many(header, _tensors):
    header["history"] += [{**header["history"][-1], "epoch": n} for n in range(3, 999)]


def _gap(header, _tensors):
    del header["history"][1]


def _no_number(header, _tensors):
    header["history"][1]["loss"] = "low"


def _no_rows(header, _tensors):
    header["history"] = []


def _older(path):
    """A state as it was written before states had checksums."""
    tensors, _ = state.read(path)
    header = {"epoch": 999, "groups": [], "history": []}
    save_file(tensors, path, metadata={"training": json.dumps(header)})


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "cut in the header": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("a training state, honestly"),
    "last byte": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x01"),
    "edited": _hand_edited,
    "older": _older,
    "weights": lambda path: state.save_weights(path, _network(), {"role": "teacher"}),
    "pipe": _pipe,
    "folder": _folder,
    "too many epochs": lambda path: _rewritten(path, _too_many),
    "no epochs": lambda path: _rewritten(path, _no_rows),
    "a gap in the history": lambda path: _rewritten(path, _gap),
    "a row without a number": lambda path: _rewritten(path, _no_number),
    "no history": lambda path: _rewritten(path, lambda header, _: header.pop("history")),
    "no owner": lambda path: _rewritten(path, lambda header, _: header.pop("owner")),
    "a list": lambda path: _rewritten(path, lambda header, _: header.update(owner=[1])),
    "moments of another shape": lambda path: _rewritten(
        path, lambda _, tensors: tensors.update({"optimizer.0.exp_avg": torch.zeros(2, 2)})
    ),
    "moments of nothing": lambda path: _rewritten(
        path, lambda _, tensors: tensors.update({"optimizer.9.exp_avg": torch.zeros(2)})
    ),
    "a moment less": lambda path: _rewritten(
        path, lambda _, tensors: tensors.pop("optimizer.0.exp_avg")
    ),
    "a moment of a parameter before the first": lambda path: _rewritten(
        path, lambda _, tensors: tensors.update({"optimizer.-1.exp_avg": torch.zeros(3)})
    ),
    "weights of another shape": lambda path: _rewritten(
        path, lambda _, tensors: tensors.update({"network.1.weight": torch.zeros(5, 4)})
    ),
    "a foreign tensor": lambda path: _rewritten(
        path, lambda _, tensors: tensors.update({"average.1.weight": torch.zeros(5, 4)})
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_bad_state_is_set_aside_and_the_training_starts_anew(tmp_path, whole, caplog, kind):
    path = tmp_path / "training.safetensors"
    path.write_bytes(whole.content)
    DAMAGE[kind](path)
    bad = path.stat()
    with caplog.at_level(logging.WARNING):
        rows, weights = _fit(path)
    assert rows == whole.rows
    assert _equal(weights, whole.weights)
    assert path.read_bytes() == whole.content
    assert os.path.samestat((tmp_path / "training.bad-1.safetensors").lstat(), bad)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{path}: ")
    assert said.endswith("; it is now training.bad-1.safetensors, and the training starts anew")
    assert "\n" not in said
    caplog.clear()
    assert _fit(path)[0] == whole.rows  # the next run finds nothing to complain about
    assert not caplog.records


def test_every_bad_state_is_kept(tmp_path, whole):
    path = tmp_path / "training.safetensors"
    for number in range(3):
        path.write_bytes(bytes([number]))
        _fit(path)
    kept = sorted(tmp_path.glob("*.bad-*"))
    assert [file.read_bytes() for file in kept] == [b"\0", b"\1", b"\2"]


def _of(**changed):
    """Return the fingerprint of a training that differs in this from the usual one."""
    usual = {
        "network": _network(), "objective": Objective(), "batches": _batches(),
        "params": PARAMS,
    }  # fmt: skip
    return fingerprint.of(**(usual | changed))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"params": PARAMS.model_copy(update={"learning_rate": 2e-2})}, "parameters"),
        ({"params": PARAMS.model_copy(update={"epochs": 4})}, "parameters"),
        ({"batches": _batches(seed=1)}, "seed"),
        ({"batches": _batches(images=1)}, "batches"),
    ],
)
def test_a_state_of_another_training_is_set_aside(tmp_path, whole, caplog, changed, named):
    path = tmp_path / "training.safetensors"
    path.write_bytes(whole.content)
    expected = _fit(tmp_path / "undisturbed", **changed)[1]
    assert _equal(_fit(path, **changed)[1], expected)
    assert f"the state of another training ({named} differ)" in caplog.text
    ours, usual = _of(**changed), _of()
    assert [part for part in usual if usual[part] != ours[part]] == [named]


def test_bits_and_the_distillations_parameters_tell_trainings_apart():
    data = datasets.assemble(
        "noise", np.zeros((8, 8, 8, 1), np.uint8), np.arange(8) % 2, ("a", "b"),
        dict.fromkeys(SPLITS, np.arange(8)),
    )  # fmt: skip
    teacher = roles.teacher(TeacherParams(model=ModelParams(width=4)), data, 0)

    def parts(bits=2, quantizer="dorefa", temperature=4.0):
        params = StudentParams(model=ModelParams(width=4), bits=bits, quantizer=quantizer)
        student = roles.student(params, data, 0, teacher[0])
        distill = DistillParams(temperature=temperature)
        objective = Distillation(student, teacher, distill, 0)
        found = _of(network=student[0], objective=objective)
        return found["network"], found["objective"]

    network, objective = parts()
    assert parts() == (network, objective)
    assert parts(bits=3)[0] != network  # the names and shapes of both are the same
    assert parts(quantizer="lsq")[0] != network
    assert parts(temperature=2.0) == (network, parts(temperature=2.0)[1])
    assert parts(temperature=2.0)[1] != objective


def test_what_hangs_on_a_network_does_not_make_it_another():
    network = _network()
    before = _of(network=network)
    network.register_forward_hook(lambda *_: None)
    network.train(not network.training)
    with torch.no_grad():
        network[1].weight.zero_()
    assert _of(network=network) == before


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_no_byte_can_be_changed_unnoticed(tmp_path, whole, place, byte, cut):
    content = bytearray(whole.content)
    at = int(place * len(content))
    content[at] = byte
    path = tmp_path / "state"
    path.write_bytes(content[:at] if cut else content)
    training = _training()
    before = _weights(training)
    try:
        training.resume(path)
    except StateError:
        assert _equal(_weights(training), before)
        assert not training.optimizer.state
        assert training.epoch == 0
    else:  # the byte was that before, or a space between words of the file's header
        assert training.history == whole.rows
        assert _equal(_weights(training), whole.weights)


def test_a_state_that_cannot_be_read_is_neither_believed_nor_replaced(tmp_path, whole, monkeypatch):
    path = tmp_path / "training.safetensors"
    path.write_bytes(whole.content)
    opened = Path.open

    def refused(self, *arguments, **options):
        if self == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(RunError, match=r"training\.safetensors: cannot be read \(Input/output"):
        _fit(path)
    monkeypatch.undo()
    assert path.read_bytes() == whole.content
    assert list(tmp_path.iterdir()) == [path]


def test_a_training_comes_back_whole(whole, tmp_path):
    training = _training()
    assert not training.resume(tmp_path / "absent")
    assert not training.finished
    assert training.resume(whole.path)
    assert training.finished
    assert training.history == whole.rows
    assert _equal(_weights(training), whole.weights)
    assert [float(values["step"]) for values in training.optimizer.state.values()] == [9.0] * 4
    training.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == whole.content


def test_another_seed_is_taken_over_where_that_is_meant(whole):
    training = _training(batches=_batches(seed=1))
    with pytest.raises(StateError, match=r"\(seed differ\)"):
        training.resume(whole.path)
    assert training.resume(whole.path, any_seed=True)
    assert training.history == whole.rows
    other = _training(batches=_batches(images=1))
    with pytest.raises(StateError, match=r"\(batches differ\)"):
        other.resume(whole.path, any_seed=True)
