"""The loop of one worker: claim a slot, train it, enter the result; plan when a generation is done.

All workers are alike, wherever they run. None is needed: whoever completes a generation plans the
next, and whoever is idle gives up the slots of the dead and plans what is missing.
"""

import contextlib
import functools
import logging
import math
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rolekd.errors import HopelessError, RunError
from rolekd.fleet.artifacts import Artifacts
from rolekd.fleet.board import Board, Entry
from rolekd.fleet.identity import identity, is_dead
from rolekd.fleet.jobs import Job, Trainer
from rolekd.fleet.study import Ledger
from rolekd.fleet.tasks import Result

_SHORTEST_NAP, _LONGEST_NAP = 0.005, 0.5
_TIDY_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Worker:
    """One worker of a job.

    Args:
        ledger: The job's.
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
        self._chance = random.Random(self._name)
        self._plan = ledger.job.make_planner()

    def work(self) -> Board:
        """Work until every slot of the job is done; return the last reading."""
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
                nap = min(1.2 * nap, _LONGEST_NAP)

    def _advance_one(self, board: Board) -> bool:
        """Claim a waiting slot and train it; False where there is none."""
        waiting = board.waiting()
        if waiting and (failure := self._ledger.failure()):
            raise RunError(failure)
        # where many are at work, each begins elsewhere among the oldest: all would want the same
        # one, and every claim that fails costs the database three transactions
        first = self._chance.randrange(min(len(waiting), len(board.running()) + 1) or 1)
        for entry in [*waiting[first:], *waiting[:first]]:
            if self._ledger.claim(entry, self._name):
                self._train_claimed(board, entry)
                return True
        return False

    def _train_claimed(self, board: Board, entry: Entry) -> None:
        try:
            self._train(board, entry)
        except BaseException as error:
            if isinstance(error, HopelessError):
                self._ledger.fail(str(error))
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
            parent, state, out = None, None, Path(folder, "out")
            if task.parent is not None:
                parent = board.holders[task.parent].result
                assert parent is not None and parent.state is not None
                state = Path(folder, "in")
                self._artifacts.get_state(task.parent, parent.trial, parent.state, state)
            outcome = self._trainer.train(task, state, out)
            accuracy = None if math.isnan(outcome.accuracy) else outcome.accuracy
            checksum = None
            if accuracy is not None and out.exists():
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
        if not self._ledger.finish(entry, result, _device(self._ledger.job), parent):
            _log.warning("%s: was given to another worker meanwhile", task.slot)
            self._artifacts.remove_state(task.slot, entry.number)

    def _tidy(self, board: Board) -> None:
        """Give up the slots of dead workers; plan what is missing; remove outgrown states."""
        for entry in board.running():
            if all(is_dead(worker) for worker in entry.workers):
                self._ledger.lose(entry)
        self._ledger.lose_silent()
        board = self._ledger.read()
        missing = [] if board.finished else board.missing(self._plan(board.history))
        if missing:
            self._ledger.enqueue(missing)  # or another did
            self.sweep(board, [len(board.history) - 2])

    def sweep(self, board: Board, generations: list[int]) -> None:
        """Remove the outgrown training states of those generations."""
        for entry in board.outgrown(generations):
            self._artifacts.remove_state(entry.task.slot, entry.number)


@functools.cache
def _name_of_gpu() -> str:
    import torch  # has trained by now

    return torch.cuda.get_device_name()


def _device(job: Job) -> str:
    """Return the name of what trains a job here."""
    return platform.machine() if job.device == "cpu" else _name_of_gpu()


def limit_threads(count: int) -> None:
    """Give the numeric libraries `count` threads, those imported already and those to come.

    Not numba: no function of ours has threads of numba's, and once these exist it compiles nothing
    where their number in the environment is another one.
    """
    for name in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{name}_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def make_trainer(job: Job, inputs: Path, keep: Path) -> Trainer:
    """Make a job's trainer, with the threads that the job names."""
    limit_threads(job.threads)
    trainer = job.make_trainer(inputs, keep)
    limit_threads(job.threads)
    return trainer
