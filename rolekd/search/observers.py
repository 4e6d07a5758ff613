"""Who watches a search, and what they are told."""

from collections.abc import Sequence
from typing import Protocol

from rolekd.fleet.board import Board
from rolekd.params import SearchParams
from rolekd.search.history import Found
from rolekd.search.population import Result


class Observer(Protocol):
    """Is told how a search goes on, in the process that called `run`.

    A search that is continued tells of what was done before, too, so that a record made by an
    observer is complete.
    """

    def started(self, settings: SearchParams) -> None:
        """A search begins or continues."""
        ...

    def slot(self, result: Result) -> None:
        """A slot is done."""
        ...

    def generation(self, results: Sequence[Result]) -> None:
        """All members of a generation are done; they come in order."""
        ...

    def finished(self, found: Found) -> None:
        """The search is done."""
        ...


class Telling:
    """Tells observers what is new in each reading of the ledger."""

    def __init__(self, observers: Sequence[Observer], settings: SearchParams) -> None:
        self._observers = observers
        self._slots: set[int] = set()
        self._generations = 0
        for observer in observers:
            observer.started(settings)

    def __call__(self, board: Board) -> None:
        """Tell of the slots and generations that were not there before."""
        for entry in board.entries:
            if entry.result is not None and entry.number not in self._slots:
                self._slots.add(entry.number)
                for observer in self._observers:
                    observer.slot(entry.result)
        for generation in board.history[self._generations :]:
            self._generations += 1
            for observer in self._observers:
                observer.generation(generation)
