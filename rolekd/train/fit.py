"""A whole training that can be killed at any instant and goes on where it was."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from rolekd import parallel, processes
from rolekd.data.batches import Augment, Batches
from rolekd.distill.objective import Objective
from rolekd.errors import InputError, RunError
from rolekd.train import state
from rolekd.train.loop import Reporter, train
from rolekd.train.start import start

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
    reporters: Sequence[Reporter] = (),
) -> list[dict[str, float]]:
    """Train `network` from its first epoch, or from `state_file`, to its last.

    The state is saved at the end of an epoch when the last save is some seconds old, and after
    the last epoch; an interrupted training ends in the same weights as an uninterrupted one,
    bit by bit, since all random streams are functions of the epoch. Of several processes that
    torchrun started, the first writes the state and all read it.

    Args:
        network: Trained in place. Where an average of the weights is kept, it ends with that.
        batches: The split to train on.
        augment_at: Epoch -> the augmentation of its batches.
        objective: Computes the loss.
        params: Optimiser and its schedule.
        state_file: Where the state is kept; its folder is made.
        reporters: Hear every epoch, those of an earlier call included.

    Returns:
        One row of metrics for every epoch.

    Raises:
        InputError: Options that cannot be combined.
        DivergedError: The loss is not finite.
    """
    _check_processes(params)
    optimizer, average = start(network, objective, params)
    kept = None if average is None else average.network
    history = _History()
    listeners = (history, *reporters)
    first = 0
    if state_file.exists():
        first, rows = state.load(state_file, network, objective, optimizer, average=kept)
        for row in rows:
            metrics = dict(row)
            epoch = int(metrics.pop("epoch"))
            for listener in listeners:
                listener.epoch(metrics, epoch)
    if not parallel.alike(first):
        raise RunError(
            f"{state_file}: not all processes see the same training state; put the project on a "
            "folder that their machines share"
        )
    if not first:
        objective.prepare(lambda epoch: batches.epoch(epoch, augment_at(0)))
    saved = time.monotonic()

    def after_epoch(finished: int) -> None:
        nonlocal saved
        if processes.team_rank() > 0:
            return
        if finished == params.epochs or time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
            state.save(
                state_file, network, objective, optimizer, finished, history.rows, average=kept
            )
            saved = time.monotonic()

    train(
        network,
        optimizer,
        batches,
        augment_at,
        objective,
        params,
        average=average,
        first=first,
        after_epoch=after_epoch,
        reporters=listeners,
    )
    if kept is not None:
        network.load_state_dict(kept.state_dict())
    return history.rows


def _check_processes(params: "TrainingParams") -> None:
    """Refuse what torchrun's processes cannot do together."""
    count = parallel.size()
    if count > 1 and params.compile:
        raise InputError("training.compile: does not go with torchrun; set it to false")
    if params.batch_size < 2 * count * params.accumulate:
        raise InputError(
            f"training.batch_size {params.batch_size}: too small for {count} processes with "
            f"accumulate {params.accumulate}; BatchNorm needs two images in each part"
        )
