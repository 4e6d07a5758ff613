"""A whole training that can be killed at any instant and continues where it was."""

import itertools
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rolekd import parallel, processes
from rolekd.errors import InputError, RunError
from rolekd.train.state import EpochRow, StateError
from rolekd.train.training import Training

_SECONDS_BETWEEN_SAVES = 15.0
_NAMED = 3  # of the layers in a warning

_log = logging.getLogger(__name__)


class Reporter(Protocol):
    """Receives the numbers of every epoch, such as a progress bar or the MLflow run."""

    def epoch(self, metrics: Mapping[str, float], step: int) -> None:
        """Take the metrics of epoch number `step`; those of an earlier call lack the speed."""


class Monitor(Protocol):
    """Shows trainings, several at once."""

    def begin(self, name: str, epochs: int) -> Reporter:
        """Return the reporter of the training `name`, from its first epoch to its last."""
        ...


def fit(
    training: Training, state_file: Path | None = None, reporters: Sequence[Reporter] = ()
) -> list[EpochRow]:
    """Take a training from its first epoch, or from `state_file`, to its last.

    The state is saved after an epoch if the last save is some seconds old, and after the last.
    A state that is damaged, or of another training, is renamed, with a warning, and the training
    starts anew. Under torchrun the first process writes the state and all processes read it.

    Args:
        training: Its network ends as the one that the training concludes with.
        state_file: Where the state is kept; its folder is made. None: it is not kept.
        reporters: Called for every epoch, including those of an earlier call.

    Returns:
        One row of metrics for every epoch.

    Raises:
        RunError: The state cannot be read, or is not the same for all processes; a GPU failed.
        DivergedError: The loss is not finite.
    """
    with training.explained():
        return _fit(training, state_file, reporters)


def _fit(
    training: Training, state_file: Path | None, reporters: Sequence[Reporter]
) -> list[EpochRow]:
    if state_file is not None:
        _resume(training, state_file)
    for row in training.history:
        metrics = {name: value for name, value in row.items() if name != "epoch"}
        for reporter in reporters:
            reporter.epoch(metrics, int(row["epoch"]))
    training.prepare()
    saved = time.monotonic()
    while not training.finished:
        epoch = training.epoch
        metrics = training.run_epoch()
        for reporter in reporters:
            reporter.epoch(metrics, epoch)
        due = training.finished or time.monotonic() - saved > _SECONDS_BETWEEN_SAVES
        if due and state_file is not None and processes.team_rank() == 0:
            training.save(state_file)
            saved = time.monotonic()
    network, final = training.network.eval(), training.conclude()
    if final is not network:
        network.load_state_dict(final.state_dict())
    if processes.team_rank() == 0:
        name = "training" if state_file is None else state_file.stem
        _warn_of_dead(training.dead_quantizers(), name)
    return training.history


def _warn_of_dead(paths: Sequence[str], name: str) -> None:
    """Warn of layers of a low-bit network that pass no information on."""
    if not paths:
        return
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    _log.warning(
        "%s: dead quantisers (%s%s), all of whose values are on one level; lower "
        "student.training.learning_rate, raise student.bits, or, with dorefa, set "
        "student.quantizer to lsq",
        name,
        ", ".join(paths[:_NAMED]),
        more,
    )


def _resume(training: Training, path: Path) -> None:
    """Restore the training from its state; set aside a state that cannot be continued."""
    fault = None
    try:
        training.resume(path)
    except StateError as error:
        fault = error
    # it is also why all have read the state before the first renames it
    if not parallel.alike(training.epoch):
        raise RunError(
            f"{path}: not all processes see the same training state; put the project on a "
            "folder that their machines share"
        )
    if fault is not None and processes.team_rank() == 0:
        _set_aside(path, fault.reason)


def _set_aside(path: Path, reason: str) -> None:
    """Rename a state, with a warning."""
    names = (path.with_name(f"{path.stem}.bad-{n}{path.suffix}") for n in itertools.count(1))
    target = next(name for name in names if not name.exists())
    try:
        path.rename(target)
    except OSError as error:
        raise InputError(
            f"{path}: {reason}, and cannot be renamed ({error.strerror}); remove it"
        ) from error
    _log.warning("%s: %s; it is now %s, and the training starts anew", path, reason, target.name)
