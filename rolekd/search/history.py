"""A finished search as rows: for tables, plots and `dvc plots`.

Nothing that differs between two runs of the same search stands in them: not the seconds, not
the trial numbers; MLflow and the study have those.
"""

from typing import Any

from rolekd.search.population import Result
from rolekd.search.runner import Found


def rows(found: Found) -> list[dict[str, Any]]:
    """Return a row for every slot, generations in order; `in_lineage` marks the winner's line."""
    line = {result.task.slot for result in found.line}
    return [
        {**_row(result), "in_lineage": result.task.slot in line}
        for generation in found.history
        for result in generation
    ]


def lineage(found: Found) -> list[dict[str, Any]]:
    """Return the winner's line, oldest first, with the policy of each slot."""
    return [{**_row(result), "policy": list(result.task.policy)} for result in found.line]


def _row(result: Result) -> dict[str, Any]:
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
