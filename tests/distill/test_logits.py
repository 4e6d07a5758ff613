import math

import numpy as np
import pytest
import torch

from rolekd import flat
from rolekd.distill import kernels
from rolekd.distill.logits import DKD, DML, RKD, SoftLabels


def _softmax(logits):
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    return exponent / exponent.sum(1, keepdims=True)


def test_soft_labels_follow_hintons_formula():
    rng = np.random.default_rng(0)
    student, teacher, temperature = rng.normal(size=(5, 7)), rng.normal(size=(5, 7)), 3.0
    p, q = _softmax(teacher / temperature), _softmax(student / temperature)
    expected = temperature**2 * (p * (np.log(p) - np.log(q))).sum() / 5
    loss = SoftLabels.formula(torch.tensor(student), torch.tensor(teacher), temperature)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_dkd_follows_zhaos_formula():
    rng = np.random.default_rng(4)
    student, teacher, temperature = rng.normal(size=(5, 7)), rng.normal(size=(5, 7)), 4.0
    labels = np.array([0, 6, 3, 3, 1])
    p, q = _softmax(teacher / temperature), _softmax(student / temperature)
    target, others = 0.0, 0.0
    for row, label in enumerate(labels):
        rest = np.arange(7) != label
        b, c = (np.array([x[row, label], x[row, rest].sum()]) for x in (p, q))
        target += (b * np.log(b / c)).sum() / 5
        b, c = (x[row, rest] / x[row, rest].sum() for x in (p, q))
        others += (b * np.log(b / c)).sum() / 5
    loss = DKD.formula(*map(torch.tensor, (student, teacher, labels)), temperature, 0.5, 3.0)
    assert float(loss) == pytest.approx(16 * (0.5 * target + 3 * others), rel=1e-12)


def test_dkds_parts_make_up_the_soft_labels():
    """KL = target part + (1 - p_t) other part (Zhao et al., equation 6)."""
    rng = np.random.default_rng(5)
    teacher = rng.normal(size=(1, 7))
    weight = 1 - _softmax(teacher)[0, 2]
    student, teacher = torch.tensor(rng.normal(size=(1, 7))), torch.tensor(teacher)
    loss = DKD.formula(student, teacher, torch.tensor([2]), 1.0, 1.0, weight)
    assert float(loss) == pytest.approx(float(SoftLabels.formula(student, teacher, 1.0)))


def test_peers_teach_each_other_their_plain_probabilities():
    rng = np.random.default_rng(6)
    network, peer = rng.normal(size=(5, 7)), rng.normal(size=(5, 7))
    p, q = _softmax(peer), _softmax(network)
    expected = (p * np.log(p / q)).sum(1).mean()
    loss = DML.formula(torch.tensor(network), torch.tensor(peer))
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def _huber(x):
    return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5).mean()


def _relations(embeddings):
    embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    n = len(embeddings)
    distances = np.array([[np.linalg.norm(a - b) for b in embeddings] for a in embeddings])
    cosines = np.zeros((n, n, n))
    for j in range(n):
        for i in range(n):
            for k in range(n):
                a, b = embeddings[i] - embeddings[j], embeddings[k] - embeddings[j]
                if i != j and k != j:
                    cosines[j, i, k] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return distances / distances[distances > 0].mean(), cosines


def test_rkd_follows_parks_formulas():
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(6, 4)), rng.normal(size=(6, 9))
    (ds, cs), (dt, ct) = _relations(student), _relations(teacher)
    loss = RKD.formula(torch.tensor(student), torch.tensor(teacher))
    assert float(loss) == pytest.approx(50 * _huber(ds - dt) + 100 * _huber(cs - ct), rel=1e-9)


LOSSES = {
    "SoftLabels": lambda s, t: SoftLabels.formula(s, t, 4.0),
    "RKD": RKD.formula,
    "DML": DML.formula,
    "DKD": lambda s, t: DKD.formula(s, t, torch.arange(len(s)) % s.shape[1], 4.0),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_agree_with_finite_differences(name):
    generator = torch.Generator().manual_seed(2)
    student = torch.randn(5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    teacher = torch.randn(5, 4, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, teacher), student)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_networks_have_no_loss(name):
    logits = torch.randn(8, 10, generator=torch.Generator().manual_seed(3))
    assert float(LOSSES[name](logits, logits.clone())) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "logits",
    [torch.zeros(4, 3), torch.ones(1, 3), torch.eye(3).repeat(2, 1), torch.eye(2) * 300],
    ids=["equal", "single", "pairs", "certain"],
)
def test_degenerate_batches_give_finite_losses_and_gradients(name, logits, dtype):
    student = logits.to(dtype, copy=True).requires_grad_()
    loss = LOSSES[name](student, torch.randn(logits.shape).to(dtype))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def _both(student, teacher, monkeypatch):
    """Return loss and gradient of RKD, compiled and not."""
    found = []
    for compiled in (True, False):
        monkeypatch.setattr(flat, "fits", lambda _, compiled=compiled: compiled)
        dtype = torch.float32 if compiled else torch.float64
        logits = student.to(dtype, copy=True).requires_grad_()
        loss = RKD.formula(logits, teacher.to(dtype), 50.0, 80.0)
        (3 * loss).backward()
        found.append((loss.detach(), logits.grad))
    return found


@pytest.mark.parametrize("size", [1, 2, 9, 40])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_compiled_rkd_is_the_reference(size, scale, monkeypatch):
    generator = torch.Generator().manual_seed(size)
    student = scale * torch.randn(size, 10, generator=generator)
    student[size // 2 + 1 :: 3] = student[:1] + 2 * scale  # some are the same
    ours, theirs = _both(student, torch.randn(size, 7, generator=generator), monkeypatch)
    torch.testing.assert_close(ours[0].double(), theirs[0], rtol=1e-5, atol=1e-7)
    tolerance = 1e-9 + 1e-5 * float(theirs[1].abs().max())
    torch.testing.assert_close(ours[1].double(), theirs[1], rtol=1e-5, atol=tolerance)


def test_logits_that_coincide_do_not_throw_the_student_off(monkeypatch):
    """Two images with the same logits, as duplicates have, once had a gradient of 1e11."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(8, 5, generator=generator) for _ in range(2))
    apart = max(float(gradient.abs().max()) for _, gradient in _both(student, teacher, monkeypatch))
    student[1] = student[0]
    for _, gradient in _both(student, teacher, monkeypatch):
        assert float(gradient.abs().max()) < 3 * apart


@pytest.mark.parametrize("compiled", [True, False])
def test_rkd_does_not_hide_nan(compiled, monkeypatch):
    monkeypatch.setattr(flat, "fits", lambda _: compiled)
    logits = torch.randn(4, 3)
    logits[1, 1] = float("nan")
    assert math.isnan(RKD.formula(logits, torch.randn(4, 3)))


def test_differences_are_clipped_in_place_and_nan_is_not_hidden():
    x = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0])
    wanted = torch.nn.functional.huber_loss(x, torch.zeros_like(x), reduction="sum").item()
    assert kernels.huber(x) == pytest.approx(wanted)
    assert x.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert math.isnan(kernels.huber(torch.tensor([0.5, float("nan")])))
