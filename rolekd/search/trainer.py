"""What a search trains with: one protocol, and the closed registry of its implementations."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from rolekd import plugins
from rolekd.augment.schedule import Schedule
from rolekd.errors import InputError
from rolekd.fleet.tasks import Outcome, Slot
from rolekd.search.explore import PolicyIntegers
from rolekd.search.population import SearchTask
from rolekd.search.spec import SearchSpec

_GROUP = "rolekd.trainers"
_REGISTRY = {"member": ("rolekd.search.member", "Member")}


class SearchTrainer(Protocol):
    """Trains one task; must be a pure function of its arguments and of what it was made of."""

    def advance(
        self,
        state: Path | None,
        policy: PolicyIntegers,
        slot: Slot,
        start_epoch: int,
        epochs: int,
        out: Path,
    ) -> Outcome:
        """Train `epochs` epochs from `state` and measure the accuracy on search_val.

        Args:
            state: The whole training state of the parent; None: fresh weights.
            policy: 60 integers that augment these epochs.
            slot: Where in the search this is; the base of its random streams.
            start_epoch: Epochs already in `state`.
            epochs: Epochs to train now.
            out: File to write the new training state to: weights, optimiser, BatchNorm, epoch.
        """
        ...

    def confirm(self, schedule: Schedule, seed: int, epochs: int) -> Outcome:
        """Train a whole training from fresh weights, on a split drawn anew, and measure it.

        Args:
            schedule: Of policies; stretched to the training.
            seed: Decides split, initial weights and the order of images, so that two schedules
                with one seed are a pair.
            epochs: Of the training.

        Returns:
            The accuracy, and in the extras `log_loss`, if the final is to compare that: without
            it, it compares accuracy.
        """
        ...


class SlotTrainer:
    """Trains a search's tasks: those of the algorithm, and whole trainings of the final."""

    def __init__(self, trainer: SearchTrainer) -> None:
        self._trainer = trainer

    def train(self, task: SearchTask, state: Path | None, out: Path) -> Outcome:
        """See `rolekd.fleet.jobs.Trainer`."""
        if task.candidate is not None:
            return self._trainer.confirm(task.candidate.schedule, task.seed, task.epochs)
        return self._trainer.advance(
            state, task.policy, task.slot, task.start_epoch, task.epochs, out
        )


MakeTrainer = Callable[[SearchSpec, Path, Path], SearchTrainer]


def find_trainer(name: str) -> MakeTrainer:
    """Look up a trainer: ours by name, a user's by its entry point in the group `rolekd.trainers`.

    It is called with the spec, the folder of input files, and a folder that outlives the worker and
    that the workers of this machine share.
    """
    if name in _REGISTRY:
        module, attribute = _REGISTRY[name]
        return cast(MakeTrainer, getattr(importlib.import_module(module), attribute))
    declared = plugins.names(_GROUP)
    if name not in declared:
        known = ", ".join(sorted({*_REGISTRY, *declared}))
        raise InputError(
            f"trainer {name!r}: unknown; known are {known}; install the package that declares it "
            f"as an entry point in the group {_GROUP}"
        )
    return cast(MakeTrainer, plugins.load(_GROUP, name, f"trainer {name!r}"))
