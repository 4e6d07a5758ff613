"""The two phases of a search: an algorithm proposes, then a final confirms.

Their generations follow one another in one history. Standard library only.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rolekd.search import final
from rolekd.search.population import Generation, SearchTask

if TYPE_CHECKING:
    from rolekd.params import SearchParams

PROPOSE, CONFIRM = "propose", "confirm"


def proposed(history: Sequence[Generation]) -> list[Generation]:
    """Return the complete generations of the algorithm."""
    return [results for results in history if results[0].task.candidate is None]


def rungs(history: Sequence[Generation]) -> list[Generation]:
    """Return the complete rungs of the final."""
    return [results for results in history if results[0].task.candidate is not None]


def all_proposed(settings: "SearchParams", history: Sequence[Generation]) -> bool:
    """Return whether the algorithm has come to its end.

    A search of a constant policy can end some generations early: when no candidate is left and a
    new one could not be trained to the end.
    """
    done = proposed(history)
    left = settings.generations - len(done)
    if left == 0 or not done or settings.algorithm == "pbt":
        return left == 0
    ends = [
        result.accuracy is None or result.task.start_epoch + result.task.epochs == settings.epochs
        for result in done[-1]
    ]
    return left < settings.intervals and all(ends)


def finished(settings: "SearchParams", history: Sequence[Generation]) -> bool:
    """Return whether no task follows those of the complete generations."""
    if not all_proposed(settings, history):
        return False
    return settings.confirm is None or final.over(settings, rungs(history))


def epochs_left(settings: "SearchParams", whole: int, done: Iterable[SearchTask]) -> int:
    """Return how many epochs a search still trains, at most: a task of the final takes far longer.

    Args:
        settings: Of the search.
        whole: Epochs of a training of the final.
        done: The tasks that are done.
    """
    trained = {PROPOSE: 0, CONFIRM: 0}
    for task in done:
        trained[PROPOSE if task.candidate is None else CONFIRM] += task.epochs
    final_epochs = settings.confirm.trainings * whole if settings.confirm else 0
    # the algorithm is over when the final has begun, whatever it has left unused
    left = 0 if trained[CONFIRM] else max(0, settings.proposed_epochs - trained[PROPOSE])
    return left + max(0, final_epochs - trained[CONFIRM])
