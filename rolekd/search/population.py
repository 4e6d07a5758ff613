"""Population based training as pure planning: what the next generation does, given the last one.

A search is `generations` times `population` tasks. The identity of a task is its slot, (generation,
member): what is trained there follows from the seed, the slot and the results of earlier
generations, and from nothing else. So any process may plan, and a task that was lost with its
worker is planned again exactly as it was.

Standard library only. Method: Jaderberg et al. 2017 (PBT) and Ho et al. 2019 (PBA), with the
numbers of Fu et al. 2020; synchronous, so that the seed alone decides. At a restart it begins
again, with the policies that it has and an interval twice as long: a short interval rewards what
helps at once, a long one what helps in the end (after IPBT, Chebykin et al. 2025, arXiv:2511.09190,
which keeps weights, too; here they are fresh, as a schedule must suit a training from its start).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rolekd.augment import ladder
from rolekd.augment.policy import LENGTH
from rolekd.augment.schedule import Schedule
from rolekd.errors import HopelessError
from rolekd.fleet import tasks
from rolekd.fleet.tasks import Slot
from rolekd.search.explore import PolicyIntegers, explore
from rolekd.seeds import derive

if TYPE_CHECKING:
    from rolekd.params import SearchParams

IDLE_POLICY: PolicyIntegers = (0,) * LENGTH


@dataclass(frozen=True)
class Candidate:
    """A schedule in the final of a search, over the epochs of the search, and its name."""

    name: str
    schedule: Schedule


@dataclass(frozen=True)
class SearchTask(tasks.Task):
    """One training of a search.

    Attributes:
        slot: Where in the search this is.
        parent: Slot in the generation before, whose state is continued; None: fresh weights.
        generation_size: Number of tasks of this generation.
        policy: 60 integers; of a candidate, those that its schedule ends with.
        start_epoch: Epochs already in the state.
        epochs: Epochs to train here.
        candidate: In the final: what is trained, from fresh weights for a whole training; see
            `rolekd.search.final`. None: this is a task of the algorithm.
        seed: In the final: decides split, initial weights and order of images.
    """

    policy: PolicyIntegers
    start_epoch: int
    epochs: int
    candidate: Candidate | None = None
    seed: int = 0


# accuracies are of search_val, or of the final's own splits
SearchResult = tasks.Result[SearchTask]
Generation = Sequence[SearchResult]


def rank(generation: Generation) -> list[SearchResult]:
    """Sort best first; equal accuracies by member, diverged members last."""
    return sorted(
        generation,
        key=lambda result: (
            result.accuracy is None,
            -(result.accuracy or 0.0),
            result.task.slot.member,
        ),
    )


def plan(settings: "SearchParams", seed: int, history: Sequence[Generation]) -> list[SearchTask]:
    """Plan the generation that follows the complete ones in `history`, a task for each member.

    Raises:
        HopelessError: The loss of every member of the last generation became NaN.
    """
    generation = len(history)
    if generation == 0:
        begin = [IDLE_POLICY]
        if settings.start == "ladder":
            begin += [ladder.policy(name).values for name in settings.ladder]
        return [
            _task(settings, Slot(0, member), None, begin[member % len(begin)])
            for member in range(settings.population)
        ]
    previous = {result.task.slot.member: result for result in history[-1]}
    sources = exploit_pairs(settings, seed, history[-1])
    tasks = []
    for member in range(settings.population):
        slot = Slot(generation, member)
        source = previous[sources.get(member, member)]
        policy = source.task.policy
        if member in sources:
            policy = explore(settings, policy, random.Random(derive(seed, "explore", *_at(slot))))
        fresh = _place(settings, generation)[0] == 0  # a round begins
        tasks.append(_task(settings, slot, None if fresh else source.task.slot, policy))
    return tasks


def exploit_pairs(settings: "SearchParams", seed: int, generation: Generation) -> dict[int, int]:
    """Return who copies from whom: each of the worst quantile from a random one of the best.

    A diverged member always copies, even if more have diverged than the quantile holds.
    """
    ranked = rank(generation)
    count = max(1, int(settings.population * settings.quantile))
    best = [result for result in ranked[:count] if result.accuracy is not None]
    if not best:
        raise HopelessError(
            f"search: in generation {ranked[0].task.slot.generation} the loss of every member "
            "became NaN; lower the learning rate of the role that is searched"
        )
    losers = [
        result
        for place, result in enumerate(ranked)
        if result.accuracy is None or place >= len(ranked) - count
    ]
    pairs = {}
    for loser in losers:
        slot = loser.task.slot
        stream = random.Random(derive(seed, "exploit", slot.generation + 1, slot.member))
        pairs[slot.member] = best[stream.randrange(len(best))].task.slot.member
    return pairs


def _task(
    settings: "SearchParams", slot: Slot, parent: Slot | None, policy: PolicyIntegers
) -> SearchTask:
    start, interval = _place(settings, slot.generation)
    epochs = min(interval, settings.epochs - start)
    return SearchTask(slot, parent, settings.population, policy, start, epochs)


def _place(settings: "SearchParams", generation: int) -> tuple[int, int]:
    """Return the epochs that a generation starts after, in its round, and the round's interval."""
    for interval, count in settings.rounds:
        if generation < count:
            return generation * interval, interval
        generation -= count
    raise AssertionError("a generation after the last")


def _at(slot: Slot) -> tuple[int, int]:
    return slot.generation, slot.member
