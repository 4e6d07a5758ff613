"""Who watches a search, and what is reported to them."""

from collections.abc import Sequence
from typing import Protocol

from rolekd.fleet.snapshot import Snapshot
from rolekd.search.history import Found
from rolekd.search.population import SearchResult
from rolekd.search.spec import SearchSpec


class Observer(Protocol):
    """Follows a search, in the process that called `run`.

    A search that is resumed reports earlier results, too, so that what an observer records is
    complete.
    """

    def started(self, spec: SearchSpec) -> None:
        """A search begins or continues."""
        ...

    def result(self, result: SearchResult) -> None:
        """A task is done."""
        ...

    def generation(self, results: Sequence[SearchResult]) -> None:
        """All members of a generation are done; they come in order."""
        ...

    def finished(self, found: Found) -> None:
        """The search is done."""
        ...


class Notifier:
    """Calls observers with what is new in each snapshot of the study."""

    def __init__(self, observers: Sequence[Observer], spec: SearchSpec) -> None:
        self._observers = observers
        self._reported: set[int] = set()
        self._generations = 0
        for observer in observers:
            observer.started(spec)

    def __call__(self, snapshot: Snapshot) -> None:
        """Report the tasks and generations that were not there before."""
        for trial in snapshot.trials:
            if trial.result is not None and trial.number not in self._reported:
                self._reported.add(trial.number)
                for observer in self._observers:
                    observer.result(trial.result)
        for generation in snapshot.history[self._generations :]:
            self._generations += 1
            for observer in self._observers:
                observer.generation(generation)
