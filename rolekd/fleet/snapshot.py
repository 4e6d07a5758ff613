"""How far a job is: pure functions over the trials of its study.

A task can have several trials, of which all but the last were lost with their workers. So a task
is done at most once.
"""

import enum
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rolekd.fleet.jobs import Job
from rolekd.fleet.tasks import Result, Slot, Task


class State(enum.Enum):
    """The life of a trial: waiting, running, then one of the other two."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    LOST = "lost"


_ALIVE = (State.WAITING, State.RUNNING, State.DONE)


@dataclass(frozen=True)
class Trial:
    """One attempt at a task, an Optuna trial.

    Attributes:
        number: Number of the trial; in the order of creation.
        task: What is trained.
        state: Where it is in its life.
        workers: Who may have claimed it; one of them runs or ran it.
        result: Of a done trial.
    """

    number: int
    task: Any  # of the job's kind
    state: State
    workers: tuple[str, ...] = ()
    result: Result[Any] | None = None


class Snapshot:
    """One reading of the study: its trials, by slot."""

    def __init__(self, job: Job, trials: Iterable[Trial]) -> None:
        self.job = job
        self.trials = sorted(trials, key=lambda trial: trial.number)
        self.holders: dict[Slot, Trial] = {}
        for trial in self.trials:
            if trial.state in _ALIVE:
                self.holders.setdefault(trial.task.slot, trial)

    @cached_property
    def history(self) -> list[list[Result[Any]]]:
        """Results of the complete generations, members in order."""
        complete: list[list[Result[Any]]] = []
        by_slot = sorted(self.holders.items(), key=lambda item: item[0])
        for _, held in itertools.groupby(by_slot, key=lambda item: item[0].generation):
            results = [trial.result for _, trial in held if trial.result is not None]
            if not results or len(results) < results[0].task.generation_size:
                break
            complete.append(results)
        return complete

    @property
    def finished(self) -> bool:
        """Whether no task follows those that are done."""
        return self.job.finished(self.history)

    @property
    def tasks_done(self) -> int:
        """Number of tasks that are done."""
        return sum(trial.state is State.DONE for trial in self.holders.values())

    def waiting(self) -> list[Trial]:
        """Return the trials to claim, the oldest first."""
        return self._in(State.WAITING)

    def running(self) -> list[Trial]:
        """Return the trials that a worker trains, or died training."""
        return self._in(State.RUNNING)

    def missing(self, planned: Iterable[Task]) -> list[Task]:
        """Return those of the planned tasks that have no trial waiting, running or done."""
        return [task for task in planned if task.slot not in self.holders]

    def outgrown(self, generations: Iterable[int]) -> list[Trial]:
        """Return the trials of those generations whose training states no task will start from.

        The tasks of generation g start from states of g - 1, so two states a member are kept
        while a search runs. No task ever starts from the state of a trial that was lost with its
        worker, not even in the last generation.
        """
        asked, last = set(generations), len(self.history) - 1
        return [
            trial
            for trial in self.trials
            if (generation := trial.task.slot.generation) in asked
            and (trial.state is State.LOST or (trial.state is State.DONE and generation < last))
        ]

    def _in(self, state: State) -> list[Trial]:
        return [trial for trial in self.trials if trial.state is state]


Watch = Callable[[Snapshot], None]  # is called with every snapshot of a study
