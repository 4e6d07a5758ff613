"""The winner's lineage: traced back through its parents, it is the learned schedule.

Standard library only.
"""

from collections.abc import Sequence

from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.errors import HopelessError
from rolekd.search.population import Generation, SearchResult


def ranked(history: Sequence[Generation]) -> list[SearchResult]:
    """Sort an algorithm's results: those trained longest first, then the best; ties by slot."""
    finished = [result for generation in history for result in generation]
    survivors = [result for result in finished if result.accuracy is not None]
    if finished and not survivors:
        raise HopelessError(
            "search: the loss of every member became NaN; lower the learning rate of the role "
            "that is searched"
        )
    return sorted(
        survivors,
        key=lambda result: (
            -_reached(result),
            -(result.accuracy or 0.0),
            result.task.slot,
        ),
    )


def winner(history: Sequence[Generation]) -> SearchResult:
    """Return the first of `ranked`."""
    return ranked(history)[0]


def trace(history: Sequence[Generation], last: SearchResult | None = None) -> list[SearchResult]:
    """Return a result, by default the winner, and all its ancestors, the oldest first."""
    by_slot = {result.task.slot: result for generation in history for result in generation}
    line = [last or winner(history)]
    while (parent := line[0].task.parent) is not None:
        line.insert(0, by_slot[parent])
    return line


def best(history: Sequence[Generation], count: int) -> list[list[SearchResult]]:
    """Return, of the results trained longest, the lines of the `count` best that differ."""
    found: dict[tuple[tuple[int, ...], ...], list[SearchResult]] = {}
    order = ranked(history)
    for result in order:
        if _reached(result) < _reached(order[0]):
            break
        line = trace(history, result)
        found.setdefault(tuple(one.task.policy for one in line), line)
        if len(found) == count:
            break
    return list(found.values())


def _reached(result: SearchResult) -> int:
    return result.task.start_epoch + result.task.epochs


def to_schedule(line: Sequence[SearchResult], epochs: int) -> Schedule:
    """Return a lineage as a schedule over `epochs`; a policy that stays starts no new segment."""
    changes: list[tuple[int, Policy]] = []
    for result in line:
        policy = Policy(result.task.policy)
        if not changes or changes[-1][1] != policy:
            changes.append((result.task.start_epoch, policy))
    return Schedule(epochs, changes)
