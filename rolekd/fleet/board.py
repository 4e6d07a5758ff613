"""Where a job stands: pure functions over the entries of its ledger.

Several entries can stand for one slot, of which all but the last were lost with their workers. So
a slot is done at most once.
"""

import enum
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rolekd.fleet.jobs import Job
from rolekd.fleet.tasks import Result, Slot, Task


class State(enum.Enum):
    """The life of an entry: waiting, running, then one of the other two."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    LOST = "lost"


_ALIVE = (State.WAITING, State.RUNNING, State.DONE)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger, an Optuna trial.

    Attributes:
        number: Number of the trial; in the order of creation.
        task: What is trained.
        state: Where it is in its life.
        workers: Who may have claimed it; one of them runs or ran it.
        result: Of a done entry.
    """

    number: int
    task: Any  # of the job's kind
    state: State
    workers: tuple[str, ...] = ()
    result: Result[Any] | None = None


class Board:
    """One reading of the ledger, sorted out by slot."""

    def __init__(self, job: Job, entries: Iterable[Entry]) -> None:
        self.job = job
        self.entries = sorted(entries, key=lambda entry: entry.number)
        self.holders: dict[Slot, Entry] = {}
        for entry in self.entries:
            if entry.state in _ALIVE:
                self.holders.setdefault(entry.task.slot, entry)

    @cached_property
    def history(self) -> list[list[Result[Any]]]:
        """Results of the complete generations, members in order."""
        complete: list[list[Result[Any]]] = []
        by_slot = sorted(self.holders.items(), key=lambda item: item[0])
        for _, held in itertools.groupby(by_slot, key=lambda item: item[0].generation):
            results = [entry.result for _, entry in held if entry.result is not None]
            if not results or len(results) < results[0].task.width:
                break
            complete.append(results)
        return complete

    @property
    def finished(self) -> bool:
        """Whether no slot will follow those that are done."""
        return self.job.finished(self.history)

    @property
    def slots_done(self) -> int:
        """Number of slots that are done."""
        return sum(entry.state is State.DONE for entry in self.holders.values())

    def waiting(self) -> list[Entry]:
        """Return the entries to claim, the oldest first."""
        return self._in(State.WAITING)

    def running(self) -> list[Entry]:
        """Return the entries that somebody works on, or died over."""
        return self._in(State.RUNNING)

    def missing(self, planned: Iterable[Task]) -> list[Task]:
        """Return those of the planned tasks that nothing alive stands for."""
        return [task for task in planned if task.slot not in self.holders]

    def outgrown(self, generations: Iterable[int]) -> list[Entry]:
        """Return the entries of those generations whose training states nothing starts from.

        The slots of generation g start from states of g - 1, so two states a member are kept
        while a search runs. From what an entry stored that was lost with its worker nothing ever
        starts, in the last generation neither.
        """
        asked, last = set(generations), len(self.history) - 1
        return [
            entry
            for entry in self.entries
            if (generation := entry.task.slot.generation) in asked
            and (entry.state is State.LOST or (entry.state is State.DONE and generation < last))
        ]

    def _in(self, state: State) -> list[Entry]:
        return [entry for entry in self.entries if entry.state is state]
