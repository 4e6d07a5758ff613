"""Learning rates as pure functions of the step, so that a resumed training needs no more state."""

import math

from rolekd.params import TrainingParams

# one-cycle: share of the steps with a rising rate, peak over start, start over end
_RISE, _START, _END = 0.3, 25.0, 1e4


def decays(params: TrainingParams, epochs: int, epoch: int) -> int:
    """Return how many decay points `epoch` has reached in a training of `epochs` epochs."""
    # the tolerance keeps 0.7 * 10 = 7.000000000000001 from being epoch 8
    return sum(epoch >= fraction * epochs - 1e-9 for fraction in params.decay_at)


def learning_rate(params: TrainingParams, epochs: int, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of one optimiser step, counted from 0 over the whole training.

    step: multiplied by `decay_factor` at each of `decay_at`. cosine: half a cosine from the
    learning rate down to 0 (Loshchilov & Hutter 2017, without restarts). one-cycle: cosines from
    1/25 of the learning rate up to it, in three tenths of the steps, and down to 1/250,000 (Smith
    & Topin 2018). Before the first two the rate rises linearly for `warmup_epochs`; the cosine
    begins where that ends.

    Args:
        params: `lr_schedule` and its numbers.
        epochs: Length of the whole training.
        step: Steps done before.
        steps_per_epoch: Optimiser steps of an epoch.
    """
    steps = epochs * steps_per_epoch
    if params.lr_schedule == "one-cycle":
        return params.learning_rate * _one_cycle(step, steps)
    warmup = params.warmup_epochs * steps_per_epoch
    if params.lr_schedule == "cosine":
        done = max(0.0, step - warmup) / (steps - warmup)
        rate = params.learning_rate * _cosine(1.0, 0.0, done)
    else:
        reached = decays(params, epochs, step // steps_per_epoch)
        rate = params.learning_rate * params.decay_factor**reached
    return rate * min(1.0, (step + 1) / warmup) if warmup else rate


def _one_cycle(step: int, steps: int) -> float:
    peak = max(_RISE * steps - 1, 0.0)  # the step that has the full rate
    if step < peak:
        return _cosine(1 / _START, 1.0, step / peak)
    last = steps - 1
    return _cosine(1.0, 1 / (_START * _END), (step - peak) / (last - peak) if last > peak else 0.0)


def _cosine(start: float, end: float, done: float) -> float:
    """Return the value at `done` in 0..1 of half a cosine wave from `start` to `end`."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
