"""Searches of one constant policy, with as many tasks and the same budget as PBT.

A candidate is one policy, trained from fresh weights on its own lane, one interval per generation;
if it is stopped early, the lane begins another. A sampler must see candidates end before it can
propose better ones, so there are fewer lanes than PBT has members, and more generations: tasks and
images seen are the same in number. A candidate that can no longer be trained to the end is not
begun.

Standard library only; behind `Advisor`, Optuna's samplers propose policies and its pruners stop
candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rolekd.fleet.tasks import Slot
from rolekd.search.explore import PolicyIntegers
from rolekd.search.population import Generation, SearchResult, SearchTask

if TYPE_CHECKING:
    from rolekd.params import SearchParams


class Advisor(Protocol):
    """Proposes policies, and learns from how they did."""

    def propose(self) -> tuple[int, PolicyIntegers]:
        """Return a new candidate's number and its policy."""
        ...

    def report(self, number: int, age: int, accuracy: float) -> bool:
        """Note a candidate's accuracy after `age` intervals; return whether to stop it."""
        ...

    def end(self, number: int, accuracy: float | None, stopped: bool) -> None:
        """Note the end of a candidate; accuracy None: it diverged."""
        ...


@dataclass(frozen=True)
class _Candidate:
    number: int
    policy: PolicyIntegers
    start: int  # generation of its first interval


class ConstantPlanner:
    """Plans generation after generation; a function of the seed and the accuracies alone.

    It remembers the results it has seen, so each complete generation is processed once.
    """

    def __init__(self, settings: "SearchParams", advisor: Advisor) -> None:
        self._settings = settings
        self._advisor = advisor
        self._lanes: list[_Candidate | None] = [None] * settings.lanes
        self._generation = 0
        self._begin_candidates()

    def __call__(self, history: Sequence[Generation]) -> list[SearchTask]:
        """Plan the generation that follows the complete ones in `history`."""
        for results in history[self._generation :]:
            self._generation += 1
            for result in sorted(results, key=lambda result: result.task.slot):
                self._take_note(result)
            self._begin_candidates()
        running = [(lane, candidate) for lane, candidate in enumerate(self._lanes) if candidate]
        return [self._task(lane, candidate, len(running)) for lane, candidate in running]

    def _take_note(self, result: SearchResult) -> None:
        lane = result.task.slot.member
        candidate = self._lanes[lane]
        assert candidate is not None
        age = self._generation - candidate.start
        stop = result.accuracy is not None and self._advisor.report(
            candidate.number, age, result.accuracy
        )
        over = result.accuracy is None or age == self._settings.intervals
        # A lane that cannot begin another candidate gains nothing by stopping this one.
        if over or (stop and self._room_for_another()):
            self._advisor.end(candidate.number, result.accuracy, stopped=not over)
            self._lanes[lane] = None

    def _begin_candidates(self) -> None:
        for lane, candidate in enumerate(self._lanes):
            if candidate is None and self._room_for_another():
                self._lanes[lane] = _Candidate(*self._advisor.propose(), self._generation)

    def _room_for_another(self) -> bool:
        return self._generation + self._settings.intervals <= self._settings.generations

    def _task(self, lane: int, candidate: _Candidate, size: int) -> SearchTask:
        age = self._generation - candidate.start
        start = age * self._settings.interval_epochs
        return SearchTask(
            slot=Slot(self._generation, lane),
            parent=Slot(self._generation - 1, lane) if age else None,
            policy=candidate.policy,
            start_epoch=start,
            epochs=min(self._settings.interval_epochs, self._settings.epochs - start),
            generation_size=size,
        )
