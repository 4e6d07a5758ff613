import math

import numpy as np
import pytest
import torch
from torch import nn

from rolekd.distill.predictor import MeanProbability


def test_it_is_the_formula_in_float64():
    torch.manual_seed(0)
    teacher = nn.Linear(6, 4)
    batches = torch.randn(5, 7, 6)
    with MeanProbability(teacher) as seen:
        logits = np.stack([teacher(batch).detach().double().numpy() for batch in batches])
    powers = np.exp(logits)
    means = (powers / powers.sum(axis=2, keepdims=True)).mean(axis=1)
    assert seen.stddev() == pytest.approx(means.std(axis=0, ddof=1).mean(), rel=1e-5)


def test_it_leaves_the_teacher_alone_afterwards():
    teacher = nn.Linear(3, 2)
    with MeanProbability(teacher) as seen:
        for batch in torch.randn(2, 4, 3):
            teacher(batch)
    before = seen.stddev()
    teacher(100 * torch.randn(4, 3))
    assert seen.stddev() == before


def test_more_alike_images_give_a_larger_one():
    torch.manual_seed(0)
    teacher = nn.Linear(3, 2)
    images = torch.randn(20, 16, 3)
    alike = images[:, :1] + 0.01 * images
    found = []
    for batches in (images, alike):
        with MeanProbability(teacher) as seen:
            for batch in batches:
                teacher(batch)
        found.append(seen.stddev())
    assert found[0] < found[1]


@pytest.mark.parametrize("teacher", [None, nn.Linear(3, 2)])
def test_less_than_two_batches_have_none(teacher):
    with MeanProbability(teacher) as seen:
        if teacher is not None:
            teacher(torch.randn(4, 3))
    assert math.isnan(seen.stddev())
