"""Singular vectors against the full decomposition, the readable reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekd.distill import vectors

SHAPES = [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (8, 1, 1), (3, 2, 5)]


def _maps(shape, batch=4, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *shape, generator=generator, dtype=dtype).relu()


def _reference(maps, count):
    """Right singular vectors of [HW, C], by the full decomposition in float64."""
    right = [np.linalg.svd(m.reshape(len(m), -1).T)[2][:count].T for m in maps.double().numpy()]
    return torch.tensor(np.stack(right))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_leading_vectors_are_those_of_the_full_decomposition(shape):
    maps = _maps(shape)
    found = vectors.leading(maps, 4).double()
    expected = _reference(maps, min(4, shape[0], shape[1] * shape[2]))
    assert found.shape == expected.shape
    # either sign; beyond the first, values are so close that only their space is determined
    cosines = (found.mT @ expected).abs()
    assert torch.allclose(cosines[:, 0, 0], torch.ones(4).double(), atol=1e-5)
    assert torch.allclose(found.mT @ found, torch.eye(found.shape[2]).double(), atol=1e-4)
    values = np.linalg.svd(maps.flatten(2).double().numpy(), compute_uv=False)
    gained = (maps.flatten(2).double().mT @ found).norm(dim=1)
    assert np.allclose(gained, values[:, : gained.shape[1]], rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_teachers_vector_is_the_first_with_a_positive_sum(shape):
    maps = _maps(shape)
    found, expected = vectors.first(maps), _reference(maps, 1)[:, :, 0]
    expected = expected * expected.sum(1, keepdim=True).sign()
    assert torch.allclose(found.double(), expected, atol=1e-5)


def _planted(values, rows=6, columns=9, seed=0):
    """A map [1, rows, columns, 1] of given singular values."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(rows, rows)))[0][:, : len(values)]
    right = np.linalg.qr(rng.normal(size=(columns, columns)))[0][:, : len(values)]
    return torch.tensor((left * values) @ right.T).reshape(1, rows, columns, 1)


@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_agree_with_finite_differences(transposed):
    maps = _planted([8.0, 4.0, 2.0, 1.0, 0.5])
    maps = (maps.transpose(1, 2) if transposed else maps).contiguous().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(maps.shape[1], 4, generator=generator, dtype=torch.float64)

    def squared_cosines(maps):  # each vector has either sign
        return (vectors.leading(maps, 4) * target).sum(1).square().sum(1)

    assert torch.autograd.gradcheck(squared_cosines, maps, rtol=5e-3, atol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
@given(exponent=st.integers(0, 12), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_gradients_stay_bounded_where_singular_values_meet(transposed, exponent, seed):
    gap = 0.0 if exponent == 12 else 10.0**-exponent
    maps = _planted([2.0, 1.0 + gap, 1.0, 0.5], seed=seed).float()
    maps = (maps.transpose(1, 2) if transposed else maps).contiguous().requires_grad_()
    target = torch.randn(maps.shape[1], 4, generator=torch.Generator().manual_seed(seed))
    (vectors.leading(maps, 4) * target / target.norm()).sum().backward()
    assert torch.isfinite(maps.grad).all()
    # 1 / (2 * damping) in each of the few directions, times the size of the map
    assert maps.grad.norm() < 300


@pytest.mark.parametrize("shape", [(6, 2, 2), (4, 3, 3)])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30])
def test_maps_without_rank_have_zero_vectors_and_finite_gradients(shape, value):
    maps = torch.full((2, *shape), value, requires_grad=True)
    found = vectors.leading(maps, 4)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(maps.grad).all()
    assert torch.equal(found[:, :, 1:], torch.zeros_like(found[:, :, 1:]))
    assert torch.isfinite(vectors.first(maps.detach())).all()


def test_bfloat16_maps_are_decomposed_in_float32():
    maps = _maps((8, 4, 4)).bfloat16().requires_grad_()
    found = vectors.leading(maps, 4)
    assert found.dtype == torch.float32
    assert torch.allclose(found, vectors.leading(maps.detach().float(), 4))
    found.square().sum().backward()
    assert torch.isfinite(maps.grad).all()


def test_alignment_finds_a_vector_that_changed_its_place_and_sign():
    teacher = vectors.first(_maps((6, 4, 4)))
    others = torch.linalg.qr(torch.randn(4, 6, 6)).Q[:, :, :3]
    others = others - teacher[:, :, None] * (teacher[:, None, :] @ others)
    student = torch.cat([others[:, :, :2], -teacher[:, :, None], others[:, :, 2:]], dim=2)
    assert torch.allclose(vectors.align(student, teacher), teacher)
