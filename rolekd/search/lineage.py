"""The winner's lineage: traced back through its parents, it is the learned schedule.

Standard library only.
"""

from collections.abc import Sequence

from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.errors import RunError
from rolekd.search.population import Generation, Result


def winner(history: Sequence[Generation]) -> Result:
    """Return the best of those that were trained longest; a draw goes to the earliest slot."""
    finished = [result for generation in history for result in generation]
    survivors = [result for result in finished if result.accuracy is not None]
    if not survivors:
        raise RunError(
            "search: the loss of every member became NaN; lower the learning rate of the role "
            "that is searched"
        )
    return min(
        survivors,
        key=lambda result: (
            -(result.task.start_epoch + result.task.epochs),
            -(result.accuracy or 0.0),
            result.task.slot,
        ),
    )


def trace(history: Sequence[Generation]) -> list[Result]:
    """Return the winner and all its ancestors, the oldest first."""
    by_slot = {result.task.slot: result for generation in history for result in generation}
    line = [winner(history)]
    while (parent := line[0].task.parent) is not None:
        line.insert(0, by_slot[parent])
    return line


def schedule(line: Sequence[Result], epochs: int) -> Schedule:
    """Return the policies of a lineage over `epochs`; one that stays makes no new segment."""
    changes: list[tuple[int, Policy]] = []
    for result in line:
        policy = Policy(result.task.policy)
        if not changes or changes[-1][1] != policy:
            changes.append((result.task.start_epoch, policy))
    return Schedule(epochs, changes)
