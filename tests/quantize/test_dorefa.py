"""DoReFa against its formulas in numpy float64, and against plain autograd."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rolekd.quantize.dorefa import DoReFaActivation, DoReFaWeight


def _sample(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: object, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(_ctx: object, gradient: Tensor) -> Tensor:
        return gradient


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_follow_the_formula(bits: int) -> None:
    weight = _sample(8, 4, 3, 3)
    steps = 2**bits - 1
    squashed = np.tanh(weight.numpy())
    expected = 2 * np.round(steps * (squashed / (2 * np.abs(squashed).max()) + 0.5)) / steps - 1
    quantizer = DoReFaWeight(bits)
    np.testing.assert_allclose(quantizer(weight).numpy(), expected, rtol=0, atol=1e-12)
    integers, step = quantizer.integers(weight)
    np.testing.assert_allclose(integers.numpy() * step.item(), expected, rtol=0, atol=1e-12)
    assert integers.abs().max() == steps
    assert (integers % 2 == 1).all()


@pytest.mark.parametrize("bits", range(2, 9))
def test_weight_gradient_is_straight_through_only_in_the_rounding(bits: int) -> None:
    weight = _sample(6, 3, 3, 3).requires_grad_()
    upstream = _sample(6, 3, 3, 3, seed=1)
    steps = 2**bits - 1
    squashed = weight.tanh()
    reference = 2 * _Round.apply(steps * (squashed / (2 * squashed.abs().max()) + 0.5)) / steps - 1
    (expected,) = torch.autograd.grad(reference, weight, upstream)
    (actual,) = torch.autograd.grad(DoReFaWeight(bits)(weight), weight, upstream)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_binary_weights_are_signs_times_mean_magnitude() -> None:
    weight = _sample(8, 4, 3, 3)
    weight[0, 0, 0, 0] = 0.0
    expected = np.where(weight.numpy() < 0, -1.0, 1.0) * np.abs(weight.numpy()).mean()
    quantizer = DoReFaWeight(1)
    np.testing.assert_allclose(quantizer(weight).numpy(), expected, rtol=1e-12)
    integers, step = quantizer.integers(weight)
    np.testing.assert_allclose(integers.numpy() * step.item(), expected, rtol=1e-12)
    weight.requires_grad_()
    upstream = _sample(8, 4, 3, 3, seed=1)
    (gradient,) = torch.autograd.grad(quantizer(weight), weight, upstream)
    torch.testing.assert_close(gradient, upstream)


@pytest.mark.parametrize("bits", range(1, 9))
def test_activations_follow_the_formula_and_the_gradient_of_the_clip(bits: int) -> None:
    x = _sample(4, 3, 5, 5).requires_grad_()
    steps = 2**bits - 1
    quantizer = DoReFaActivation(bits)
    expected = np.round(steps * np.clip(x.detach().numpy(), 0, 1)) / steps
    np.testing.assert_allclose(quantizer(x).detach().numpy(), expected, rtol=0, atol=1e-12)
    upstream = _sample(4, 3, 5, 5, seed=1)
    (actual,) = torch.autograd.grad(quantizer(x), x, upstream)
    (wanted,) = torch.autograd.grad(_Round.apply(steps * x.clamp(0, 1)) / steps, x, upstream)
    torch.testing.assert_close(actual, wanted)
    assert quantizer.levels().high == steps
    assert quantizer.levels().step == 1 / steps


def test_all_zero_weights_stay_finite_and_nan_shows() -> None:
    weight = torch.zeros(2, 2, 3, 3, requires_grad=True)
    output = DoReFaWeight(2)(weight)
    output.sum().backward()
    assert output.isfinite().all()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()
    broken = torch.full((2, 2, 3, 3), torch.nan)
    assert DoReFaWeight(2)(broken).isnan().all()


def test_bfloat16_inputs_keep_their_dtype() -> None:
    x = _sample(4, 4).bfloat16()
    assert DoReFaActivation(2)(x).dtype == torch.bfloat16
    assert DoReFaWeight(2)(x).dtype == torch.bfloat16
