"""The share of weights whose level changed, a number of every training of a low-bit network."""

import pytest
import torch

from rolekd.data.batches import Batches, Normalize
from rolekd.distill.objective import Objective
from rolekd.params import (
    BaseAugmentParams,
    DataParams,
    ModelParams,
    StudentParams,
    TeacherParams,
    TrainingParams,
)
from rolekd.quantize.changes import levels, share_changed
from rolekd.quantize.dorefa import DoReFaWeight
from rolekd.quantize.lsq import LSQWeight
from rolekd.sources.prepare import prepare
from rolekd.train import roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.training import Training

TINY = TrainingParams(epochs=2, learning_rate=1e-2)


@pytest.fixture(scope="module")
def digits():
    return prepare(DataParams(), seed=0)


def _training(digits, network, params=TINY):
    batches = Batches(digits, "search_train", 64, 0, Normalize(digits))
    augment = constant(make_engine(BaseAugmentParams(), digits, 1), None)
    return Training(network, Objective(), batches, augment, params)


@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
def test_a_students_epochs_say_how_many_levels_changed(digits, quantizer):
    params = StudentParams(model=ModelParams(width=4), quantizer=quantizer, ends=8)
    network, _ = roles.student(params, digits, 0, None)
    training = _training(digits, network)
    for epoch in range(2):
        before = levels(network)
        reported = training.run_epoch()["levels_changed"]
        after = levels(network)
        pairs = zip(before, after, strict=True)
        changed = sum(int((a != b).sum()) for a, b in pairs)
        assert reported == changed / sum(layer.numel() for layer in before)
        assert 0 < reported < 1
        assert training.history[epoch]["levels_changed"] == reported
    still = _training(digits, network, TINY.model_copy(update={"learning_rate": 1e-9}))
    assert still.run_epoch()["levels_changed"] < 1e-3


def test_a_float_training_has_no_levels(digits):
    network, _ = roles.teacher(TeacherParams(model=ModelParams(width=4)), digits, 0)
    assert levels(network) == []
    assert "levels_changed" not in _training(digits, network).run_epoch()


@pytest.mark.parametrize("bits", [1, 2, 8])
@pytest.mark.parametrize("kind", [DoReFaWeight, LSQWeight])
def test_levels_are_known_before_the_first_batch_and_start_nothing(kind, bits):
    weight = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    quantizer = kind(bits)
    first = quantizer.levels(weight)
    state = {name: value.clone() for name, value in quantizer.state_dict().items()}
    assert all(torch.equal(state[n], v) for n, v in kind(bits).state_dict().items())
    quantizer(weight)  # a training's first pass
    assert torch.equal(first, quantizer.integers(weight)[0])
    assert share_changed([first], [quantizer.levels(weight)]) == 0
    assert share_changed([first], [quantizer.levels(-weight)]) > 0
