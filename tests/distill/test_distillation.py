"""The objective: outputs once, taps in pairs, phases, the gradient rule, its own state."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from rolekd.distill import taps
from rolekd.distill.catalogue import COMBINATIONS, LOSSES
from rolekd.distill.distillation import Distillation, clip, clip_share
from rolekd.distill.features import AT, FitNet
from rolekd.distill.objective import EpochProgress, Objective
from rolekd.distill.relations import KDSVD, MHGD
from rolekd.errors import InputError
from rolekd.models import build
from rolekd.params import DistillParams, TapsParams
from rolekd.quantize import convert

NAMES = (*LOSSES, *COMBINATIONS)
START, LATER = EpochProgress(0, 8), EpochProgress(4, 8)


def _network(name="resnet8", *, width=4, classes=5, seed=0, bits=None):
    about = {"model": name, "channels": 3, "image_size": [16, 16], "classes": classes}
    network = build(name, classes=classes, channels=3, image_size=(16, 16), width=width, seed=seed)
    if bits:
        network = convert(network, weight_bits=bits, activation_bits=bits)
    return network.train(), about


def _batch(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 16, 16, generator=generator), torch.arange(count) % 5


def _pair(**values):
    """A student of 2 bits, its objective and a teacher of another width."""
    student, teacher = _network(bits=2, seed=1), _network(width=8)
    objective = Distillation(student, teacher, DistillParams(**values), seed=7)
    return student[0], objective.train(), teacher[0]


def _epochs(_epoch):
    return [_batch(16, seed) for seed in range(3)]


@pytest.mark.parametrize("loss", NAMES)
def test_every_loss_moves_student_and_own_parameters(loss):
    student, objective, _ = _pair(loss=loss)
    objective.prepare(_epochs)
    objective.train()
    for progress in (START, LATER):
        losses = objective(student, *_batch(), progress)
        plain = torch.autograd.grad(
            F.cross_entropy(losses.logits, _batch()[1]),
            list(student.parameters()),
            retain_graph=True,
        )
        objective.backward(losses, student, progress)
        found = [p.grad for p in student.parameters()]
        if loss in ("fsp", "ab") and progress is LATER:  # the cross-entropy alone
            assert all(torch.allclose(f, p) for f, p in zip(found, plain, strict=True))
        else:
            assert any(
                f is not None and not torch.allclose(f, p)
                for f, p in zip(found, plain, strict=True)
            )
        own = {name: p for name, p in objective.named_parameters() if p.requires_grad}
        moved = {name for name, p in own.items() if p.grad is not None and p.grad.abs().max() > 0}
        used = {name for name in own if _acts(objective, name, progress)}
        assert moved >= used
        student.zero_grad(set_to_none=True)
        objective.zero_grad(set_to_none=True)


def _acts(objective, name, progress):
    # a bias before BatchNorm has no gradient but rounding
    if name.startswith("_adapters"):
        return progress is START and "fitnet" in objective.terms
    term = objective.terms[name.split(".")[1]]
    return term.first_phase == (progress is START) and not name.endswith(".bias")


@pytest.mark.parametrize("loss", NAMES)
def test_each_network_runs_once_for_a_batch(loss):
    student, objective, _ = _pair(loss=loss)
    runs = {"student": 0, "teacher": 0}
    for name, network in (("student", student), ("teacher", objective.teacher)):

        def count(*_, name=name):
            runs[name] += 1

        network.register_forward_hook(count)
    losses = objective(student, *_batch(), LATER)
    objective.backward(losses, student, LATER)
    # the peer of dml is a network of its own
    assert runs == {"student": 1, "teacher": 0 if loss == "dml" else 1}
    assert not objective._student_taps.features


def test_losses_combine_and_all_weights_multiply():
    values = {"loss": {"soft": 0.5, "at": 2.0, "ft": 0.0}, "weight": 0.4, "decay_factor": 0.6}
    student, objective, _ = _pair(**values)
    losses = objective(student, *_batch(), EpochProgress(4, 8, decays=1))
    assert set(losses.parts) == {"cross_entropy", "soft", "at"}
    expected = 0.4 * 0.6 * (0.5 * losses.parts["soft"] + 2 * losses.parts["at"])
    assert float(losses.transfer.detach()) == pytest.approx(float(expected))
    assert float(losses.total.detach()) == pytest.approx(
        float(expected + losses.parts["cross_entropy"])
    )


def test_the_first_phase_prepares_the_student_alone():
    student, objective, _ = _pair(loss={"fitnet": 1.0, "soft": 1.0}, first_phase_fraction=0.25)
    parts = []
    for epoch in (0, 1, 2, 7):
        losses = objective(student, *_batch(), EpochProgress(epoch, 8))
        parts.append({name for name, value in losses.parts.items() if float(value) > 0})
        assert (float(losses.task.detach()) == 0) == (epoch < 2)
    assert parts == [{"cross_entropy", "fitnet"}] * 2 + [{"cross_entropy", "soft"}] * 2
    # nothing reaches the classifier before the labels do
    losses = objective(student, *_batch(), START)
    objective.backward(losses, student, START)
    assert student.get_parameter("classifier.weight").grad is None


def test_clipped_gradients_are_the_rules():
    student, objective, _ = _pair(loss={"rkd": 0.1, "kdsvd": 50.0, "mhgd": 50.0})
    weights = list(student.parameters())
    for progress in (START, LATER):
        losses = objective(student, *_batch(), progress)
        free = torch.autograd.grad(
            losses.task + losses.transfer, weights, retain_graph=True, allow_unused=True
        )
        other = torch.autograd.grad(losses.clipped, weights, retain_graph=True, allow_unused=True)
        student.zero_grad(set_to_none=True)
        objective.backward(losses, student, progress)
        limit = 1 / (1 + math.exp(-progress.epoch))
        clipped = 0
        for weight, f, o in zip(weights, free, other, strict=True):
            expected = f
            if o is not None:
                factor = min(1.0, float(limit * f.norm() / o.norm())) if o.norm() else 0.0
                clipped += factor < 1
                expected = f + factor * o
            assert torch.allclose(weight.grad, expected, rtol=1e-4, atol=1e-6)
        assert clipped > 0


def test_what_goes_with_a_clipped_loss_is_clipped_with_it():
    student, objective, _ = _pair(loss={"rkd": 1.0, "soft": 1.0, "kdsvd": 1.0})
    losses = objective(student, *_batch(), START)
    parts = losses.parts
    assert float(losses.transfer.detach()) == 0
    assert float(losses.clipped.detach()) == pytest.approx(
        0.4 * float(parts["rkd"] + parts["soft"] + parts["kdsvd"])
    )
    task = torch.autograd.grad(losses.task, list(student.parameters()), retain_graph=True)
    objective.backward(losses, student, START)
    for weight, own in zip(student.parameters(), task, strict=True):
        assert (weight.grad - own).norm() <= 0.5 * own.norm() * (1 + 1e-3) + 1e-6


def test_without_labels_nothing_is_clipped(monkeypatch):
    monkeypatch.setattr(FitNet, "clipped", True)
    student, objective, _ = _pair(loss={"fitnet": 1.0, "soft": 1.0}, first_phase_fraction=0.5)
    assert objective(student, *_batch(), EpochProgress(0, 4)).clipped is None
    assert objective(student, *_batch(), EpochProgress(3, 4)).clipped is None
    monkeypatch.setattr(FitNet, "first_phase", False)
    assert objective(student, *_batch(), EpochProgress(3, 4)).clipped is not None


def test_short_gradients_are_not_clipped_and_sums_are_sums(monkeypatch):
    found = []
    for clipped in (True, False):  # the class says which
        monkeypatch.setattr(KDSVD, "clipped", clipped)
        monkeypatch.setattr(MHGD, "clipped", clipped)
        student, objective, _ = _pair(loss={"kdsvd": 1e-3, "mhgd": 1e-3})
        objective.backward(objective(student, *_batch(), LATER), student, LATER)
        found.append([p.grad for p in student.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(*found, strict=True))


def test_clipping_leaves_nothing_without_a_reference():
    one, zero = torch.ones(3), torch.zeros(3)
    assert clip([one, one, None], [None, zero, one], 0.5)[0] is None
    assert torch.equal(clip([one], [zero], 0.5)[0], zero)
    assert torch.equal(clip([zero], [one], 0.5)[0], zero)
    assert torch.allclose(clip([4 * one], [one], 0.5)[0], 0.5 * one)
    assert clip_share(0) == 0.5


def test_preparation_trains_heads_and_paraphraser_on_the_teacher_alone():
    student, objective, teacher = _pair(loss={"mhgd": 1.0, "ft": 1.0, "soft": 1.0})
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    frozen = [copy.deepcopy(network.state_dict()) for network in (student, teacher)]
    objective.prepare(_epochs)
    changed = {
        name
        for name, value in objective.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert {name.split(".")[2] for name in changed} == {"heads", "paraphraser"}
    for state, network in zip(frozen, (student, teacher), strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(p.requires_grad for n, p in objective.named_parameters() if "heads" in n)
    again = _pair(loss={"mhgd": 1.0, "ft": 1.0, "soft": 1.0})[1]
    again.prepare(_epochs)
    states = zip(objective.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in states)


def test_peers_of_dml_start_from_the_teacher_and_learn():
    student, objective, teacher = _pair(loss="dml")
    peer = objective.terms["dml"].peer
    assert all(
        torch.equal(a, b) for a, b in zip(peer.parameters(), teacher.parameters(), strict=True)
    )
    losses = objective(student, *_batch(), START)
    # what the peer minimises is not a part of the student's loss
    expected = losses.parts["cross_entropy"] + 0.4 * losses.parts["dml"]
    assert float(losses.total.detach()) == pytest.approx(float(expected))
    objective.backward(losses, student, START)
    assert all(p.grad is not None for p in peer.parameters())
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize(
    ("student", "teacher"),
    [("resnet8", "alexnet"), ("alexnet", "resnet18"), ("resnet8", "resnet18")],
)
def test_families_meet_through_adapters_of_the_objective(student, teacher):
    learner, guide = _network(student, bits=2), _network(teacher, width=6)
    names = [*learner[0].state_dict()]
    objective = Distillation(
        learner, guide, DistillParams(loss=dict.fromkeys(LOSSES, 1.0)), seed=0
    ).train()
    assert [*learner[0].state_dict()] == names
    assert any(name.startswith("_adapters") for name in objective.state_dict())
    for progress in (START, LATER):
        losses = objective(learner[0], *_batch(), progress)
        objective.backward(losses, learner[0], progress)
        assert torch.isfinite(losses.total)


def test_equal_channels_need_no_adapter():
    objective = Distillation(
        _network(bits=2), _network("resnet18"), DistillParams(loss="fsp"), seed=0
    )
    assert not list(objective.parameters())


def test_defaults_of_other_numbers_pair_by_relative_depth():
    resnet, alexnet = _network("resnet18"), _network("alexnet")
    pairs = taps.choose_taps({"at": AT}, None, alexnet, resnet)
    assert pairs.student == ("relu1", "relu2", "relu5")
    assert pairs.teacher == ("stage1.1.relu2", "stage3.1.relu2", "stage4.1.relu2")
    assert taps.choose_taps({"at": AT}, None, resnet, alexnet).student == pairs.teacher


def test_named_taps_are_used_in_their_order():
    named = TapsParams(
        teacher=("stage1.0.relu2", "stage3.0.relu1"), student=("relu", "stage4.0.relu2")
    )
    objective = Distillation(
        _network(bits=2), _network(width=8), DistillParams(loss="ab", taps=named), seed=0
    )
    shapes = [tuple(p.shape[:2]) for n, p in objective.named_parameters() if p.ndim == 4]
    assert shapes == [(8, 4), (32, 32)]


def test_under_autocast_losses_are_float32():
    student, objective, _ = _pair(loss="ii")
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective(student, *_batch(), LATER)
    assert {value.dtype for value in losses.parts.values()} == {torch.float32}
    objective.backward(losses, student, LATER)
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


def test_without_a_teacher_there_is_nothing_to_prepare():
    objective = Objective()
    objective.prepare(_epochs)
    assert not objective.state_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": "iii"}, r"distill\.loss: unknown loss iii; did you mean ii"),
        ({"loss": {"sotf": 1.0}}, r"distill\.loss\.sotf: unknown loss sotf; did you mean soft"),
        ({"loss": {"zzz": 1.0}}, r"choose one of soft, rkd"),
        ({"loss": {"soft": 0.0, "at": 0.0}}, "every weight is 0"),
        ({"loss": {}}, "every weight is 0"),
        (
            {"loss": "at", "taps": {"teacher": ["relu"], "student": ["stage5.0.relu2"]}},
            r"tap stage5\.0\.relu2: .* did you mean stage",
        ),
        (
            {"loss": "at", "taps": {"teacher": ["relu", "stage1.0.relu2"], "student": ["relu"]}},
            r"distill\.taps: 1 of the student, 2 of the teacher",
        ),
        (
            {"loss": "at", "taps": {"teacher": ["flatten"], "student": ["relu"]}},
            "tap flatten of resnet8: does not give a feature map",
        ),
        (
            {"loss": "kdsvd", "taps": {"teacher": ["relu"], "student": ["relu"]}},
            r"distill\.taps: kdsvd compares at least 2 taps, found 1",
        ),
    ],
)
def test_wrong_parameters_are_told_in_one_line(values, message):
    with pytest.raises(InputError, match=message) as caught:
        _pair(**values)
    assert "\n" not in str(caught.value)


def test_class_counts_must_agree():
    with pytest.raises(InputError, match="student has 5 classes, its teacher 7"):
        Distillation(_network(), _network(classes=7), DistillParams(), seed=0)
