"""Losses of feature maps against the papers' formulas in numpy, float64."""

import numpy as np
import pytest
import torch

from rolekd.distill.features import AB, AT, FSP, FT, FitNet


def _maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def _value(loss, *maps):
    return float(loss(*(torch.tensor(m) for m in maps)))


def test_fitnets_hint_is_half_the_mean_squared_difference():
    s, t = _maps(3, 4, 5, 5), _maps(3, 4, 5, 5, seed=1)
    assert _value(FitNet.formula, s, t) == pytest.approx(0.5 * ((s - t) ** 2).mean(), rel=1e-12)


def test_attention_transfer_compares_unit_maps():
    s, t = _maps(3, 4, 5, 6), _maps(3, 7, 5, 6, seed=1)
    expected = 0.0
    for image in range(3):
        maps = [(m[image] ** 2).sum(0).ravel() for m in (s, t)]
        ours, theirs = (m / np.sqrt((m**2).sum()) for m in maps)
        expected += ((ours - theirs) ** 2).sum() / 3
    assert _value(AT.formula, s, t) == pytest.approx(expected, rel=1e-12)


def _flow(first, second):
    """The paper's sum over positions, with the larger map max-pooled by a whole factor."""
    factor = first.shape[2] // second.shape[2]
    b, c, h, w = first.shape
    first = first.reshape(b, c, h // factor, factor, w // factor, factor).max((3, 5))
    flow = np.zeros((b, c, second.shape[1]))
    for row in range(first.shape[2]):
        for column in range(first.shape[3]):
            flow += first[:, :, None, row, column] * second[:, None, :, row, column]
    return flow / (first.shape[2] * first.shape[3])


@pytest.mark.parametrize("side", [4, 2])
def test_fsp_compares_flows_between_stages(side):
    ours = _maps(3, 5, 4, 4), _maps(3, 6, side, side, seed=1)
    theirs = _maps(3, 5, 8, 8, seed=2), _maps(3, 6, 4, 4, seed=3)
    expected = ((_flow(*ours) - _flow(*theirs)) ** 2).mean()
    loss = FSP.formula(tuple(map(torch.tensor, ours)), tuple(map(torch.tensor, theirs)))
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_factors_are_compared_as_unit_vectors_by_absolute_differences():
    s, t = _maps(3, 4, 2, 2), _maps(3, 4, 2, 2, seed=1)
    expected = 0.0
    for ours, theirs in zip(s.reshape(3, -1), t.reshape(3, -1), strict=True):
        difference = ours / np.linalg.norm(ours) - theirs / np.linalg.norm(theirs)
        expected += np.abs(difference).sum() / np.sqrt(16) / 3
    assert _value(FT.formula, s, t) == pytest.approx(expected, rel=1e-12)


def test_boundaries_ask_for_a_margin_on_the_teachers_side():
    s, t = _maps(3, 4, 2, 2), _maps(3, 4, 2, 2, seed=1)
    expected = 0.0
    for ours, theirs in zip(s.ravel(), t.ravel(), strict=True):
        expected += max(0.0, 1 - ours) ** 2 if theirs > 0 else max(0.0, 1 + ours) ** 2
    assert _value(AB.formula, s, t) == pytest.approx(expected / s.size, rel=1e-12)
    assert _value(AB.formula, s, np.maximum(t, 0)) == pytest.approx(expected / s.size)
    assert _value(AB.formula, np.where(t > 0, 1.5, -1.5), t) == 0


@pytest.mark.parametrize("kind", [FitNet, AT, FT, AB])
def test_the_larger_map_is_averaged_to_the_smaller(kind):
    loss = kind.formula
    large, small = _maps(2, 3, 8, 8), _maps(2, 3, 4, 4, seed=1)
    pooled = large.reshape(2, 3, 4, 2, 4, 2).mean((3, 5))
    assert _value(loss, large, small) == pytest.approx(_value(loss, pooled, small), rel=1e-12)
    assert _value(loss, small, large) == pytest.approx(_value(loss, small, pooled), rel=1e-12)


LOSSES = {
    "FitNet": FitNet.formula,
    "AT": AT.formula,
    "FT": FT.formula,
    "AB": AB.formula,
    "FSP": lambda s, t: FSP.formula((s, s[:, :2]), (t, t[:, :2])),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_agree_with_finite_differences(name):
    student = torch.tensor(_maps(2, 3, 4, 4), requires_grad=True)
    teacher = torch.tensor(_maps(2, 3, 4, 4, seed=1))
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, teacher), student)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "AB"])
def test_equal_maps_have_no_loss(name):
    maps = torch.tensor(_maps(2, 3, 4, 4))
    assert float(LOSSES[name](maps, maps.clone())) == 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("maps", [torch.zeros(1, 3, 2, 2), torch.ones(2, 3, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_constant_maps_give_finite_losses_and_gradients(name, maps, dtype):
    student = maps.to(dtype, copy=True).requires_grad_()
    loss = LOSSES[name](student, torch.rand(maps.shape).to(dtype))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()
