"""A whole training that can be killed at any instant and goes on where it was."""

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from rolekd import parallel, processes
from rolekd.data.batches import Augment, Batches
from rolekd.distill.objective import Objective
from rolekd.errors import InputError, RunError
from rolekd.train import fingerprint, state
from rolekd.train.loop import Reporter, train
from rolekd.train.start import start
from rolekd.train.state import StateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolekd.params import TrainingParams

_SECONDS_BETWEEN_SAVES = 15.0

_log = logging.getLogger(__name__)


class History:
    """Keeps the metrics of all epochs, without the speed: equal trainings give equal rows."""

    def __init__(self, rows: Sequence[state.Row] = ()) -> None:
        self.rows = list(rows)

    def epoch(self, metrics: "Mapping[str, float]", step: int) -> None:
        """Keep the metrics of epoch number `step`."""
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
    bit by bit, since all random streams are functions of the epoch. A state that is damaged, or of
    another training, is renamed, with a warning, and the training starts anew. Of several processes
    that torchrun started, the first writes the state and all read it.

    Args:
        network: Trained in place. Where an average of the weights is kept, it ends with that.
        batches: The split to train on.
        augment_at: Epoch -> the augmentation of its batches.
        objective: Computes the loss.
        params: Optimiser and its schedule.
        state_file: Where the state is kept; its folder is made.
        scale_decay: See `rolekd.train.loop.train`.
        reporters: Hear every epoch, those of an earlier call included.

    Returns:
        One row of metrics for every epoch.

    Raises:
        InputError: Options that cannot be combined.
        RunError: The state cannot be read, or is not the same for all processes.
        DivergedError: The loss is not finite.
    """
    _check_processes(params)
    owner = fingerprint.of(network, objective, batches, params, scale_decay)
    optimizer, average = start(network, objective, params)
    kept = None if average is None else average.network
    modules = state.modules(network, objective, kept)
    history = History()
    listeners = (history, *reporters)
    rows: list[state.Row] = []
    fault = None
    try:
        rows = state.load(state_file, modules, optimizer, owner, params.epochs)
    except FileNotFoundError:
        pass
    except StateError as error:
        fault = error
    first = len(rows)
    if not parallel.alike(first):
        raise RunError(
            f"{state_file}: not all processes see the same training state; put the project on a "
            "folder that their machines share"
        )
    if fault is not None and processes.team_rank() == 0:
        _set_aside(fault)
    for row in rows:
        metrics = {name: value for name, value in row.items() if name != "epoch"}
        for listener in listeners:
            listener.epoch(metrics, int(row["epoch"]))
    if not first:
        objective.prepare(lambda epoch: batches.epoch(epoch, augment_at(0)))
    saved = time.monotonic()

    def after_epoch(finished: int) -> None:
        nonlocal saved
        if processes.team_rank() > 0:
            return
        if finished == params.epochs or time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
            state.save(state_file, modules, optimizer, owner, history.rows)
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
        scale_decay=scale_decay,
        after_epoch=after_epoch,
        reporters=listeners,
    )
    if kept is not None:
        network.load_state_dict(kept.state_dict())
    return history.rows


def _set_aside(fault: StateError) -> None:
    """Give a state that is none to go on from another name, and say so."""
    path = fault.path
    free = (path.with_name(f"{path.stem}.bad-{n}{path.suffix}") for n in itertools.count(1))
    target = next(name for name in free if not name.exists())
    try:
        path.rename(target)
    except OSError as error:
        raise InputError(
            f"{path}: {fault.reason}, and cannot be renamed ({error.strerror}); remove it"
        ) from error
    _log.warning(
        "%s: %s; it is now %s, and the training starts anew", path, fault.reason, target.name
    )


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
