"""A finished search: what it found, also as rows for tables, plots and `dvc plots`.

The rows hold nothing that differs between two runs of the same search, such as seconds and trial
numbers; MLflow and the study have those.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rolekd.augment.schedule import Schedule
from rolekd.params import SearchParams
from rolekd.search import lineage as lines
from rolekd.search import phases
from rolekd.search.final import FinalVerdict, on_ladder
from rolekd.search.population import SearchResult


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        search: Its parameters.
        history: Generations of results, members in order; those of the final come last.
        line: The lineage of the algorithm's winner, oldest first, the winner last. Empty if the
            ladder alone proposed.
        verdict: How the final ended; None: there was none.
    """

    search: SearchParams
    history: Sequence[Sequence[SearchResult]]
    line: Sequence[SearchResult]
    verdict: FinalVerdict | None

    @property
    def schedule(self) -> Schedule:
        """What won the final; without a final, what the algorithm's winner was trained with."""
        if self.verdict is not None:
            return self.verdict.schedule
        return lines.to_schedule(self.line, self.search.epochs)


def history_rows(found: Found) -> list[dict[str, Any]]:
    """Return a row for every task of the algorithm, generations in order.

    `in_lineage` marks the line of its winner.
    """
    line = {result.task.slot for result in found.line}
    return [
        {**_row(result), "in_lineage": result.task.slot in line}
        for generation in phases.proposed(found.history)
        for result in generation
    ]


def final(found: Found) -> list[dict[str, Any]]:
    """Return a row for every training of the final, rungs in order.

    `ladder` is the rung of the ladder that does what the candidate does, whatever its name.
    """
    return [
        {
            "rung": rung,
            "candidate": result.task.candidate.name,
            "ladder": on_ladder(result.task.candidate.schedule),
            "seed": result.task.seed,
            "accuracy": result.accuracy,
            "images_seen": result.images_seen,
            **result.extras,
        }
        for rung, results in enumerate(phases.rungs(found.history))
        for result in results
        if result.task.candidate is not None
    ]


def lineage(found: Found) -> list[dict[str, Any]]:
    """Return the winner's line, oldest first, with the policy of each task."""
    return [{**_row(result), "policy": list(result.task.policy)} for result in found.line]


def _row(result: SearchResult) -> dict[str, Any]:
    task = result.task
    return {
        "generation": task.slot.generation,
        "member": task.slot.member,
        "parent": None if task.parent is None else task.parent.member,
        "first_epoch": task.start_epoch,
        "epochs": task.epochs,
        "accuracy": result.accuracy,
        "images_seen": result.images_seen,
        **result.extras,
    }
