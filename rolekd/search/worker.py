"""The loop of one worker: claim a slot, train it, enter the result; plan when a generation is done.

All workers are alike, wherever they run. None is needed: whoever completes a generation plans the
next, and whoever is idle gives up the slots of the dead and plans what is missing.
"""

import contextlib
import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rolekd.errors import InputError, RunError
from rolekd.search.artifacts import Artifacts
from rolekd.search.board import Board, Entry
from rolekd.search.identity import identity, is_dead
from rolekd.search.population import Result
from rolekd.search.spec import SearchSpec, differences, versions
from rolekd.search.study import Ledger, open_artifacts
from rolekd.search.trainer import Trainer, find_trainer

_SHORTEST_NAP, _LONGEST_NAP = 0.01, 0.5
_TIDY_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Worker:
    """One worker of a search.

    Args:
        ledger: The search.
        artifacts: Where its training states are.
        trainer: Trains a slot.
        scratch: Folder for this worker's temporary files.
        pulse: Called with every reading of the ledger.
    """

    def __init__(
        self,
        ledger: Ledger,
        artifacts: Artifacts,
        trainer: Trainer,
        scratch: Path,
        pulse: Callable[[Board], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._artifacts = artifacts
        self._trainer = trainer
        self._scratch = scratch
        self._pulse = pulse
        self._name = identity()

    def work(self) -> Board:
        """Work until every slot of the search is done; return the last reading."""
        tidy_at, nap = -math.inf, _SHORTEST_NAP
        while True:
            board = self._ledger.read()
            if self._pulse is not None:
                self._pulse(board)
            if board.finished:
                return board
            if self._advance_one(board):
                # The one that did the last slot of a generation plans the next at once; the
                # others wait a second, so that they rarely plan it too.
                tidy_at, nap = -math.inf, _SHORTEST_NAP
            elif time.monotonic() >= tidy_at:
                self._tidy(board)
                tidy_at = time.monotonic() + _TIDY_SECONDS
            else:
                time.sleep(nap)
                nap = min(1.5 * nap, _LONGEST_NAP)

    def _advance_one(self, board: Board) -> bool:
        """Claim a waiting slot and train it; False where there is none."""
        for entry in board.waiting():
            if self._ledger.claim(entry, self._name):
                self._train_claimed(board, entry)
                return True
        return False

    def _train_claimed(self, board: Board, entry: Entry) -> None:
        try:
            self._train(board, entry)
        except BaseException as error:
            ours = True
            with contextlib.suppress(RunError):
                ours = self._ledger.lose(entry, patience=0.0)
            if ours or not isinstance(error, RunError):
                raise
            # Believed dead, it was overtaken: its parent's state may have gone in the meantime.
            _log.warning("%s: was given to another worker meanwhile", entry.task.slot)

    def _train(self, board: Board, entry: Entry) -> None:
        task = entry.task
        with (
            self._ledger.beating(entry),
            tempfile.TemporaryDirectory(dir=self._scratch) as folder,
        ):
            state, out = None, Path(folder, "out")
            if task.parent is not None:
                parent = board.holders[task.parent].result
                assert parent is not None and parent.state is not None
                state = Path(folder, "in")
                self._artifacts.get_state(task.parent, parent.trial, parent.state, state)
            outcome = self._trainer.advance(
                state, task.policy, task.slot, task.start_epoch, task.epochs, out
            )
            accuracy = None if math.isnan(outcome.accuracy) else outcome.accuracy
            checksum = None
            if accuracy is not None:
                checksum = self._artifacts.put_state(task.slot, entry.number, out)
        result = Result(
            task=task,
            trial=entry.number,
            accuracy=accuracy,
            images_seen=outcome.images_seen,
            seconds=outcome.seconds,
            state=checksum,
            extras=outcome.extras,
        )
        if not self._ledger.finish(entry, result):
            _log.warning("%s: was given to another worker meanwhile", task.slot)
            self._artifacts.remove_state(task.slot, entry.number)

    def _tidy(self, board: Board) -> None:
        """Give up the slots of dead workers; plan what is missing; remove outgrown states."""
        for entry in board.duplicates():
            self._ledger.drop(entry)
        for entry in board.running():
            if entry.worker is not None and is_dead(entry.worker):
                self._ledger.lose(entry)
        self._ledger.lose_silent()
        board = self._ledger.read()
        if missing := board.missing():
            self._ledger.enqueue(missing)
            self.sweep(board, [len(board.history) - 2])

    def sweep(self, board: Board, generations: list[int]) -> None:
        """Remove the outgrown training states of those generations."""
        for entry in board.outgrown(generations):
            self._artifacts.remove_state(entry.task.slot, entry.number)


def limit_threads(count: int) -> None:
    """Give the numeric libraries `count` threads, those imported already and those to come."""
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = str(count)
    for name in ("torch", "numba"):
        if name in sys.modules:
            sys.modules[name].set_num_threads(count)


def make_trainer(spec: SearchSpec, inputs: Path) -> Trainer:
    """Make the trainer that a spec names, with the threads that it names."""
    limit_threads(spec.threads)
    trainer = find_trainer(spec.trainer)(spec, inputs)
    limit_threads(spec.threads)
    return trainer


def join(
    storage: str, artifacts: str, study: str, pulse: Callable[[Board], None] | None = None
) -> Board:
    """Work on a search that was started elsewhere, until it is finished.

    Args:
        storage: URL of its database.
        artifacts: Address of its artifact store.
        study: Name of its study.
        pulse: Called with every reading of the ledger.
    """
    ledger = Ledger.open(storage, study)
    refuse_other_versions(ledger.spec)
    store = open_artifacts(artifacts, study)
    with tempfile.TemporaryDirectory(prefix="rolekd-worker-") as folder:
        inputs = Path(folder, "inputs")
        store.get_inputs(ledger.spec.inputs, inputs)
        trainer = make_trainer(ledger.spec, inputs)
        return Worker(ledger, store, trainer, Path(folder), pulse).work()


def refuse_other_versions(spec: SearchSpec) -> None:
    """Refuse a search whose libraries or code are not the ones installed here."""
    if found := differences(spec.versions, versions()):
        raise InputError(
            f"this worker is not like the search's others ({'; '.join(found)}); "
            "install the same versions here"
        )
