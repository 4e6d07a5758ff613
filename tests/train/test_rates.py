import pytest
import torch

from rolekd.params import TrainingParams
from rolekd.train.rates import learning_rate

EPOCHS, STEPS = 6, 5


def _rates(**options):
    params = TrainingParams(
        **{"epochs": EPOCHS, "learning_rate": 0.1, "lr_schedule": "step"} | options
    )
    return [learning_rate(params, EPOCHS, step, STEPS) for step in range(EPOCHS * STEPS)]


def _torchs(make):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = make(optimizer)
    rates = []
    for _ in range(EPOCHS * STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_steps_are_those_of_torch():
    expected = _torchs(
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3 * STEPS, 5 * STEPS], 0.1)
    )
    assert _rates(decay_at=(0.5, 0.75)) == pytest.approx(expected)


def test_the_cosine_is_that_of_torch():
    total = EPOCHS * STEPS
    expected = _torchs(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, total))
    assert _rates(lr_schedule="cosine") == pytest.approx(expected)


def test_one_cycle_is_that_of_torch():
    expected = _torchs(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, max_lr=0.1, total_steps=EPOCHS * STEPS, cycle_momentum=False
        )
    )
    assert _rates(lr_schedule="one-cycle") == pytest.approx(expected)


def test_the_rate_rises_linearly_and_then_is_the_schedules():
    warm, plain = _rates(warmup_epochs=1), _rates()
    assert warm[:STEPS] == pytest.approx([0.1 * (i + 1) / STEPS for i in range(STEPS)])
    assert warm[STEPS:] == plain[STEPS:]
    cosine = _rates(lr_schedule="cosine", warmup_epochs=1)
    assert cosine[STEPS] == pytest.approx(0.1)
    assert cosine[STEPS - 1] == pytest.approx(0.1)
    assert cosine[-1] < 1e-3


@pytest.mark.parametrize("lr_schedule", ["step", "cosine", "one-cycle"])
def test_trainings_of_one_step_have_a_rate(lr_schedule):
    params = TrainingParams(epochs=1, lr_schedule=lr_schedule)
    assert 0 < learning_rate(params, 1, 0, 1) <= params.learning_rate
