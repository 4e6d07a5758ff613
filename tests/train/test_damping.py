"""Damping: weights are drawn to the centres of their levels, late in a training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekd.data.batches import Batches, Normalize
from rolekd.distill.objective import EpochProgress, Objective
from rolekd.files import sha256
from rolekd.params import BaseAugmentParams, DataParams, ModelParams, StudentParams, TrainingParams
from rolekd.quantize.channelwise import ChannelWeight
from rolekd.quantize.dorefa import DoReFaWeight
from rolekd.quantize.lsq import LSQWeight
from rolekd.sources.prepare import prepare
from rolekd.train import damping, roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.state import StateError
from rolekd.train.training import Training

TINY = TrainingParams(epochs=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def digits():
    return prepare(DataParams(), seed=0)


def _training(digits, weight, **options):
    params = StudentParams(model=ModelParams(width=4), damping=weight, training=TINY, **options)
    network, _ = roles.student(params, digits, 0, None)
    batches = Batches(digits, "search_train", 64, 0, Normalize(digits))
    augment = constant(make_engine(BaseAugmentParams(), digits, 1), None)
    return Training(network, Objective(), batches, augment, TINY)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from([DoReFaWeight, LSQWeight, ChannelWeight]),
    bits=st.integers(2, 8), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_small_steps_against_the_gradient_end_on_the_centres(kind, bits, seed):
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    quantizer = kind(bits)
    quantizer(weight)
    centres, step = quantizer.integers(weight)
    before = quantizer.distance(weight)
    assert before >= 0
    (gradient,) = torch.autograd.grad(before, weight)
    moved = (weight - 1e-3 * step.min().square() * gradient).detach()
    assert torch.equal(quantizer.levels(moved), centres) or kind is DoReFaWeight
    assert quantizer.distance(moved) <= before


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_lsq_counts_what_is_within_the_range_and_moves_no_step(bits):
    quantizer = LSQWeight(bits)
    quantizer(torch.ones(2))
    step = float(quantizer.step)
    low, high = quantizer._low * step, quantizer._high * step
    weight = torch.tensor([low - 9, high + 9, 0.3 * step], requires_grad=True)
    found = quantizer.distance(weight)
    nearest = step if bits == 1 else 0
    gap = 2 * step if bits == 1 else step
    assert float(found) == pytest.approx(((0.3 * step - nearest) / gap) ** 2, rel=1e-5)
    found.backward()
    assert weight.grad[:2].tolist() == [0, 0]
    assert float(weight.grad[2]) == pytest.approx(2 * (0.3 * step - nearest) / gap**2, rel=1e-5)
    assert quantizer.step.grad is None


def test_dorefa_measures_the_squashed_weights():
    weight = torch.tensor([-2.0, 0.1, 0.5, 1.0], requires_grad=True)
    squashed = weight.tanh() / weight.tanh().abs().max()
    centres, gap = torch.tensor([-1.0, 1 / 3, 1 / 3, 1.0]), 2 / 3
    found = DoReFaWeight(2).distance(weight)
    wanted = float(((squashed - centres) / gap).square().sum())
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    found.backward()
    slope = (1 - weight.tanh().square()) / weight.tanh().abs().max()
    wanted = 2 * (squashed - centres) / gap**2 * slope
    assert torch.allclose(weight.grad, wanted.detach(), atol=1e-6)
    signs = torch.tensor([-0.5, 1.5])
    assert float(DoReFaWeight(1).distance(signs)) == pytest.approx(0.5 / 2**2)


def test_its_weight_means_the_same_at_any_width(digits):
    found = []
    for width in (4, 16):
        params = StudentParams(model=ModelParams(width=width), training=TINY)
        network, _ = roles.student(params, digits, 0, None)
        network.train()(torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
        found.append(float(damping.distance(network)))
        assert 0 < found[-1] <= 1 / 4
    assert found[0] == pytest.approx(found[1], rel=0.1)


def test_it_rises_from_nothing_to_all():
    shares = [damping.weight_share(EpochProgress(epoch, 9)) for epoch in range(9)]
    assert shares[0] == 0
    assert shares[4] == pytest.approx(0.5)
    assert shares[-1] == 1
    assert shares == sorted(shares)
    assert damping.weight_share(EpochProgress(0, 1)) == 0


@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
def test_a_damped_training_has_weights_nearer_to_the_centres(digits, quantizer):
    usual, damped = (_training(digits, weight, quantizer=quantizer) for weight in (0, 30))
    for _ in range(4):
        rows = usual.run_epoch(), damped.run_epoch()
    assert "damping" not in rows[0]
    first = damped.history[0]
    assert first["damping"] > 0
    assert first["loss"] == usual.history[0]["loss"]  # in the first epoch it has no weight
    assert damping.distance(damped.network) < 0.7 * damping.distance(usual.network)
    assert rows[1]["levels_changed"] < rows[0]["levels_changed"]
    last = damped.history[-1]
    assert last["loss"] == pytest.approx(last["cross_entropy"] + 30 * last["damping"], rel=1e-4)


def test_stopped_and_resumed_it_ends_in_the_same_bytes(digits, tmp_path):
    def run(path, stop, weight=0.1):
        training = _training(digits, weight, quantizer="lsq", ends=8)
        training.resume(path)
        while training.epoch < stop:
            training.run_epoch()
        training.save(path)

    run(tmp_path / "whole", 4)
    for stop in (1, 3, 4):
        run(tmp_path / "parts", stop)
    assert sha256(tmp_path / "whole") == sha256(tmp_path / "parts")
    with pytest.raises(StateError, match="another training"):
        run(tmp_path / "parts", 4, weight=0.2)
