"""KD-SVD and MHGD against the papers' formulas in numpy, float64, with a full decomposition."""

import numpy as np
import pytest
import torch

from rolekd.distill import vectors
from rolekd.distill.relations import KDSVD, MHGD, AttentionHeads


def _units(*shape, seed=0):
    found = np.random.default_rng(seed).normal(size=shape)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _kernel(first, second):
    return np.exp(-((first[:, :, None] - second[:, None, :]) ** 2) / 8)


def _tensors(*arrays):
    return tuple(map(torch.tensor, arrays))


@pytest.mark.parametrize("sizes", [(5, 7), (1, 1), (2, 300)])
def test_kernels_are_compared_entry_by_entry(sizes):
    (a, b), (c, d) = [[_units(3, n, seed=s + n) for n in sizes] for s in (0, 1)]
    expected = ((_kernel(a, b) - _kernel(c, d)) ** 2).sum((1, 2)).mean()
    found = float(KDSVD.formula(_tensors(a, b), _tensors(c, d)))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-10)


def _kdsvd_by_full_decomposition(student, teacher):
    """The whole loss as the paper writes it, from features [B, C, H, W] of two stages."""
    aligned = {"student": [], "teacher": []}
    for ours, theirs in zip(student, teacher, strict=True):
        rows = []
        for s, t in zip(ours.double().numpy(), theirs.double().numpy(), strict=True):
            right = np.linalg.svd(t.reshape(len(t), -1).T, full_matrices=False)[2][0]
            right = right * (np.sign(right.sum()) or 1.0)
            found = np.linalg.svd(s.reshape(len(s), -1).T, full_matrices=False)[2][:4]
            cosines = found @ right
            best = np.abs(cosines).argmax()
            rows.append((found[best] * np.sign(cosines[best]), right))
        aligned["student"].append(np.stack([r[0] for r in rows]))
        aligned["teacher"].append(np.stack([r[1] for r in rows]))
    difference = _kernel(*aligned["student"]) - _kernel(*aligned["teacher"])
    return (difference**2).sum((1, 2)).mean()


@pytest.mark.parametrize("shapes", [[(64, 16, 16), (128, 8, 8)], [(256, 8, 8), (512, 4, 4)]])
def test_the_short_way_gives_the_loss_of_the_full_decomposition(shapes):
    generator = torch.Generator().manual_seed(5)

    def stages():
        return [torch.randn(8, *shape, generator=generator).relu() for shape in shapes]

    student, teacher = stages(), stages()
    theirs = [vectors.first(t) for t in teacher]
    ours = [vectors.align(vectors.leading(s, 4), v) for s, v in zip(student, theirs, strict=True)]
    expected = _kdsvd_by_full_decomposition(student, teacher)
    found = float(KDSVD.formula(tuple(ours), tuple(theirs)))
    assert found == pytest.approx(expected, rel=1e-4)


def test_graphs_are_compared_by_kullback_leibler():
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(2, 3, 4, 4))
    p, q = (np.exp(x) / np.exp(x).sum(2, keepdims=True) for x in (t, s))
    expected = (p * np.log(p / q)).sum(2).mean()
    assert float(MHGD.formula(*_tensors(s, t))) == pytest.approx(expected, rel=1e-12)


def test_a_head_scores_scaled_products_of_its_projections():
    torch.manual_seed(0)
    heads = AttentionHeads(5, 16, heads=4).double()
    before, here = _units(3, 5), _units(3, 16, seed=1)
    scores = heads.scores(*_tensors(before, here)).detach().numpy()

    def projected(layer, x):
        return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    query = projected(heads.query, here * 4).reshape(3, 4, 4)
    key = projected(heads.key, before * np.sqrt(5)).reshape(3, 4, 4)
    for head in range(4):
        expected = query[:, head] @ key[:, head].T / 2
        assert np.allclose(scores[head], expected)


LOSSES = {
    "KDSVD": lambda s, t: KDSVD.formula((s[:, :3], s[:, 3:]), (t[:, :3], t[:, 3:])),
    "MHGD": lambda s, t: MHGD.formula(s[None], t[None]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_agree_with_finite_differences(name):
    student, teacher = _tensors(_units(6, 6), _units(6, 6, seed=1))
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, teacher), student)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_networks_have_no_loss(name):
    values = torch.tensor(_units(6, 6))
    assert float(LOSSES[name](values, values.clone())) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zero_vectors_give_finite_losses_and_gradients(name, rows, dtype):
    student = torch.zeros(rows, 6, dtype=dtype, requires_grad=True)
    loss = LOSSES[name](student, torch.rand(rows, 6).to(dtype))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()
