import errno
import hashlib
import os

import pytest

from rolekd.errors import InputError, RunError
from rolekd.fleet.artifacts import open_artifacts
from rolekd.fleet.jobs import hash_inputs
from rolekd.fleet.tasks import Slot

SLOT = Slot(1, 2)


@pytest.fixture
def store(tmp_path):
    return open_artifacts(str(tmp_path / "store"), "study")


@pytest.fixture
def state(tmp_path):
    (tmp_path / "state").write_bytes(b"weights" * 1000)
    return tmp_path / "state"


def test_what_is_put_is_got(store, state, tmp_path):
    content = state.read_bytes()
    checksum = store.put_state(SLOT, 5, state)
    assert checksum == hashlib.sha256(content).hexdigest()
    store.get_state(SLOT, 5, checksum, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_another_disk_gets_copies(store, state, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(type(state), "replace", refuse)
    content = state.read_bytes()
    checksum = store.put_state(SLOT, 5, state)
    store.get_state(SLOT, 5, checksum, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_a_successor_does_not_overwrite(store, state, tmp_path):
    first = store.put_state(SLOT, 5, state)
    state.write_bytes(b"other")
    second = store.put_state(SLOT, 6, state)
    store.get_state(SLOT, 5, first, tmp_path / "back")
    store.get_state(SLOT, 6, second, tmp_path / "back")
    with pytest.raises(RunError, match="damaged; delete the study"):
        store.get_state(SLOT, 5, second, tmp_path / "back")


def test_removing_twice(store, state, tmp_path):
    checksum = store.put_state(SLOT, 5, state)
    store.remove_state(SLOT, 5)
    store.remove_state(SLOT, 5)
    with pytest.raises(RunError, match=r"study\.g0001-m0002-t5 is missing; name the store"):
        store.get_state(SLOT, 5, checksum, tmp_path / "back")


def test_inputs_come_back_in_their_folders(store, tmp_path):
    inputs = tmp_path / "inputs"
    (inputs / "data").mkdir(parents=True)
    (inputs / "data/target.bin").write_bytes(bytes(range(60)))
    wanted = hash_inputs(inputs)
    store.put_inputs(inputs, wanted)
    store.get_inputs(wanted, tmp_path / "copy")
    name = "data/target.bin"
    assert (tmp_path / "copy" / name).read_bytes() == (inputs / name).read_bytes()


@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "a/../../b"])
def test_inputs_stay_in_their_folder(store, tmp_path, name):
    with pytest.raises(InputError, match="outside its folder"):
        store.get_inputs({name: "0" * 64}, tmp_path / "copy")
