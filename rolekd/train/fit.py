"""A whole training that can be killed at any instant and goes on where it was."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from rolekd.data.batches import Augment, Batches
from rolekd.distill.objective import Objective
from rolekd.train import state
from rolekd.train.loop import Reporter, make_optimizer, train

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolekd.params import TrainingParams

_SECONDS_BETWEEN_SAVES = 15.0


class _History:
    """Keeps the metrics of all epochs, without the speed: equal trainings give equal rows."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def epoch(self, metrics: "Mapping[str, float]", step: int) -> None:
        kept = {name: v for name, v in metrics.items() if name != "images_per_second"}
        self.rows.append({"epoch": step, **kept})


def fit(
    network: nn.Module,
    batches: Batches,
    augment_at: Callable[[int], Augment],
    objective: Objective,
    params: "TrainingParams",
    *,
    state_file: Path,
    scale_decay: float = 1.0,
    reporters: Sequence[Reporter] = (),
) -> list[dict[str, float]]:
    """Train `network` from its first epoch, or from `state_file`, to its last.

    The state is saved at the end of an epoch when the last save is some seconds old, and after
    the last epoch; an interrupted training ends in the same weights as an uninterrupted one,
    bit by bit, since all random streams are functions of the epoch.

    Args:
        network: Trained in place.
        batches: The split to train on.
        augment_at: Epoch -> the augmentation of its batches.
        objective: Computes the loss.
        params: Optimiser and its schedule.
        state_file: Where the state is kept; its folder is made.
        scale_decay: See `rolekd.train.loop.train`.
        reporters: Hear every epoch, those of an earlier call included.

    Returns:
        One row of metrics for every epoch.
    """
    optimizer = make_optimizer(network, objective, params)
    history = _History()
    listeners = (history, *reporters)
    first = 0
    if state_file.exists():
        first, rows = state.load(state_file, network, objective, optimizer)
        for row in rows:
            metrics = dict(row)
            epoch = int(metrics.pop("epoch"))
            for listener in listeners:
                listener.epoch(metrics, epoch)
    saved = time.monotonic()

    def after_epoch(finished: int) -> None:
        nonlocal saved
        if finished == params.epochs or time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
            state.save(state_file, network, objective, optimizer, finished, history.rows)
            saved = time.monotonic()

    train(
        network,
        optimizer,
        batches,
        augment_at,
        objective,
        params,
        first=first,
        scale_decay=scale_decay,
        after_epoch=after_epoch,
        reporters=listeners,
    )
    return history.rows
