"""The predictors of a student's accuracy: their formulas, and where there is nothing to measure."""

import numpy as np
import pytest
import torch
from torch import nn

from rolekd.distill.objective import EpochProgress, Losses, Objective
from rolekd.distill.predictor import Predictors


class _Taught(Objective):
    """Runs teacher and student, as a distillation does."""

    def __init__(self, teacher):
        super().__init__()
        self._teachers = (teacher,)  # no part of it, as of a distillation

    @property
    def teacher(self):
        return self._teachers[0]

    def forward(self, network, images, labels, progress):
        del labels, progress
        self.teacher(images)
        logits = network(images)
        return Losses(logits.sum(), logits.sum(), {}, logits)


def _values(teacher, student, batches, labels):
    objective = _Taught(teacher)
    with Predictors(objective) as seen:
        for images, true in zip(batches, labels, strict=True):
            objective(student, images, true, EpochProgress(0, 1))
    return seen.values(), seen, objective


def test_they_are_the_formulas_in_float64():
    torch.manual_seed(0)
    teacher, student = nn.Linear(6, 4), nn.Linear(6, 4)
    batches, labels = torch.randn(5, 7, 6), torch.randint(4, (5, 7))
    found, *_ = _values(teacher, student, batches, labels)
    theirs, ours = (n(batches).detach().double().numpy() for n in (teacher, student))
    powers = np.exp(theirs)
    means = (powers / powers.sum(axis=2, keepdims=True)).mean(axis=1)
    assert found["teacher_stddev"] == pytest.approx(means.std(axis=0, ddof=1).mean(), rel=1e-5)
    true = labels.numpy()
    only = (theirs.argmax(2) == true) & (ours.argmax(2) != true)
    assert 0 < found["teacher_only_right"] == pytest.approx(only.mean())


def test_they_leave_teacher_and_objective_alone_afterwards():
    teacher = nn.Linear(3, 2)
    before, seen, objective = _values(
        teacher, nn.Linear(3, 2), torch.randn(2, 4, 3), torch.zeros(2, 4, dtype=torch.int64)
    )
    objective(
        teacher, 100 * torch.randn(4, 3), torch.zeros(4, dtype=torch.int64), EpochProgress(0, 1)
    )
    assert seen.values() == before


def test_more_alike_images_give_a_larger_deviation():
    torch.manual_seed(0)
    teacher = nn.Linear(3, 2)
    images, labels = torch.randn(20, 16, 3), torch.zeros(20, 16, dtype=torch.int64)
    alike = images[:, :1] + 0.01 * images
    found = [_values(teacher, teacher, one, labels)[0] for one in (images, alike)]
    assert found[0]["teacher_stddev"] < found[1]["teacher_stddev"]
    assert found[0]["teacher_only_right"] == 0  # it is its own student


def test_one_batch_has_no_deviation_and_no_teacher_nothing():
    labels = torch.zeros(1, 4, dtype=torch.int64)
    found, *_ = _values(nn.Linear(3, 2), nn.Linear(3, 2), torch.randn(1, 4, 3), labels)
    assert found.keys() == {"teacher_only_right"}
    with Predictors(Objective()) as seen:
        Objective()(nn.Linear(3, 2), torch.randn(4, 3), labels[0], EpochProgress(0, 1))
    assert seen.values() == {}
