"""The loop of one worker: claim a trial, train its task, store the result, plan the next.

All workers are alike, wherever they run, and none is indispensable: whoever completes a generation
plans the next, and whoever is idle gives up the trials of the dead and plans what is missing.
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
from rolekd.fleet.identity import identity, is_dead
from rolekd.fleet.jobs import Job, Trainer
from rolekd.fleet.snapshot import Snapshot, Trial
from rolekd.fleet.studies import JobStudy
from rolekd.fleet.sweep import sweep
from rolekd.fleet.tasks import Result

_SHORTEST_NAP, _LONGEST_NAP = 0.005, 0.5
_SECONDS_BETWEEN_PLANS = 1.0

_log = logging.getLogger(__name__)


class Worker:
    """One worker of a job.

    Args:
        study: The job's.
        artifacts: Where its training states are.
        trainer: Trains a task.
        scratch: Folder for this worker's temporary files.
        pulse: Called with every snapshot of the study.
    """

    def __init__(
        self,
        study: JobStudy,
        artifacts: Artifacts,
        trainer: Trainer,
        scratch: Path,
        pulse: Callable[[Snapshot], None] | None = None,
    ) -> None:
        self._study = study
        self._artifacts = artifacts
        self._trainer = trainer
        self._scratch = scratch
        self._pulse = pulse
        self._name = identity()
        self._chance = random.Random(self._name)
        self._plan = study.job.make_planner()

    def work(self) -> Snapshot:
        """Work until every task of the job is done; return the last reading."""
        plan_at, nap = -math.inf, _SHORTEST_NAP
        while True:
            snapshot = self._study.read()
            if self._pulse is not None:
                self._pulse(snapshot)
            if snapshot.finished:
                return snapshot
            if self._advance_one(snapshot):
                # Whoever did the last task of a generation plans the next at once; the others
                # wait a second, so that they rarely plan it, too.
                plan_at, nap = -math.inf, _SHORTEST_NAP
            elif time.monotonic() >= plan_at:
                self._plan_missing(snapshot)
                plan_at = time.monotonic() + _SECONDS_BETWEEN_PLANS
            else:
                time.sleep(nap)
                nap = min(1.2 * nap, _LONGEST_NAP)

    def _advance_one(self, snapshot: Snapshot) -> bool:
        """Claim a waiting trial and train its task; False if none could be claimed."""
        waiting = snapshot.waiting()
        if waiting and (failure := self._study.failure()):
            raise HopelessError(failure)
        # With many at work, each begins at random among the oldest: else all would want the same
        # one, and every failed claim costs the database three transactions. 50 workers add 65 ms
        # to a task, at the median (docs/scale-out.md).
        first = self._chance.randrange(min(len(waiting), len(snapshot.running()) + 1) or 1)
        for trial in [*waiting[first:], *waiting[:first]]:
            if self._study.claim(trial, self._name):
                self._train_claimed(snapshot, trial)
                return True
        return False

    def _train_claimed(self, snapshot: Snapshot, trial: Trial) -> None:
        try:
            self._train(snapshot, trial)
        except BaseException as error:
            if isinstance(error, HopelessError):
                self._study.fail(str(error))
            ours = True
            with contextlib.suppress(RunError):
                ours = self._study.lose(trial, patience=0.0)
            if ours or not isinstance(error, RunError):
                raise
            # It counted as dead and was replaced; its parent's state may have been removed since.
            _log.warning("%s: was given to another worker meanwhile", trial.task.slot)

    def _train(self, snapshot: Snapshot, trial: Trial) -> None:
        task = trial.task
        with (
            self._study.beating(trial),
            tempfile.TemporaryDirectory(dir=self._scratch) as folder,
        ):
            parent, state, out = None, None, Path(folder, "out")
            if task.parent is not None:
                parent = snapshot.holders[task.parent].result
                assert parent is not None and parent.state is not None
                state = Path(folder, "in")
                self._artifacts.get_state(task.parent, parent.trial, parent.state, state)
            outcome = self._trainer.train(task, state, out)
            accuracy = None if math.isnan(outcome.accuracy) else outcome.accuracy
            checksum = None
            if accuracy is not None and out.exists():
                checksum = self._artifacts.put_state(task.slot, trial.number, out)
        result = Result(
            task=task,
            trial=trial.number,
            accuracy=accuracy,
            images_seen=outcome.images_seen,
            seconds=outcome.seconds,
            state=checksum,
            extras=outcome.extras,
        )
        if not self._study.finish(trial, result, _device(self._study.job), parent):
            _log.warning("%s: was given to another worker meanwhile", task.slot)
            self._artifacts.remove_state(task.slot, trial.number)

    def _plan_missing(self, snapshot: Snapshot) -> None:
        """Give up the trials of dead workers; plan what is missing; remove outgrown states."""
        for trial in snapshot.running():
            if all(is_dead(worker) for worker in trial.workers):
                self._study.lose(trial)
        self._study.lose_silent()
        snapshot = self._study.read()
        missing = [] if snapshot.finished else snapshot.missing(self._plan(snapshot.history))
        if missing:
            self._study.enqueue(missing)  # unless another worker has
            sweep(self._artifacts, snapshot, [len(snapshot.history) - 2])


@functools.cache
def _name_of_gpu() -> str:
    import torch  # has trained by now

    return torch.cuda.get_device_name()


def _device(job: Job) -> str:
    """Return the name of what trains a job here."""
    return platform.machine() if job.device == "cpu" else _name_of_gpu()


def limit_threads(count: int) -> None:
    """Give the numeric libraries `count` threads, those imported already and those to come.

    Not numba: none of our functions use its threads, and once these exist it does not compile if
    the environment names another number of them.
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
