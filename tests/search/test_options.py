"""Slots of a search with an average of the weights, on a device that the search has chosen."""

import pytest
import torch

from rolekd.data import dataset as datasets
from rolekd.data.batches import Normalize
from rolekd.errors import InputError
from rolekd.files import sha256
from rolekd.fleet.tasks import Slot
from rolekd.params import parse
from rolekd.search.member import DATA, Member, make_spec
from rolekd.train import roles, state
from rolekd.train.evaluate import accuracy, predict

NOTHING = (0,) * 60


@pytest.fixture(scope="module")
def inputs(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    datasets.save_splits(digits, ("search_train", "search_val"), folder / DATA)
    return folder


def _spec(inputs, **options):
    params = parse({"teacher": {"model": {"width": 4}, "training": options}}, "the test")
    return make_spec(params, "teacher", inputs)


def test_the_reward_is_the_averages(digits, inputs, tmp_path):
    spec = _spec(inputs, ema_decay=0.9, lr_schedule="one-cycle", learning_rate=0.1)
    first = Member(spec, inputs, inputs).advance(
        None, NOTHING, Slot(0, 0), 0, 2, tmp_path / "first"
    )
    tensors, _ = state.read(tmp_path / "first")
    params = parse({"teacher": {"model": {"width": 4}}}, "the test")
    images, labels = digits.split("search_val")
    found = {}
    for prefix in ("average.", "network."):
        network, _ = roles.teacher(params.teacher, digits, 0)
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        network.load_state_dict(own)
        found[prefix] = accuracy(predict(network, images, Normalize(digits)), labels)
    assert first.accuracy == found["average."] != found["network."]


def test_a_slot_in_two_processes_is_that_of_one(inputs, tmp_path):
    spec = _spec(inputs, ema_decay=0.9, lr_schedule="cosine", clip_norm=1.0)
    member = Member(spec, inputs, inputs)
    member.advance(None, NOTHING, Slot(0, 0), 0, 2, tmp_path / "whole")
    member.advance(None, NOTHING, Slot(0, 0), 0, 1, tmp_path / "first")
    Member(spec, inputs, inputs).advance(
        tmp_path / "first", NOTHING, Slot(1, 0), 1, 1, tmp_path / "second"
    )
    assert sha256(tmp_path / "second") == sha256(tmp_path / "whole")


def test_a_search_chooses_one_kind_of_device(inputs, monkeypatch):
    here = _spec(inputs)
    assert here.training["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    there = _spec(inputs)
    assert there.training["device"] == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device cuda: PyTorch finds no GPU here"):
        Member(there, inputs, inputs)
