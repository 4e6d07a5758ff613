"""A search's tasks as user attributes of trials: JSON, readable in optuna-dashboard."""

from collections.abc import Mapping
from typing import Any

from rolekd.augment import schedule as schedules
from rolekd.fleet import tasks
from rolekd.search.phases import CONFIRM, PROPOSE
from rolekd.search.population import Candidate, SearchTask


def write_task(task: SearchTask) -> dict[str, Any]:
    """Return the attributes that a trial is queued with, beside those of every job."""
    found: dict[str, Any] = {
        "policy": list(task.policy),
        "epochs": [task.start_epoch, task.start_epoch + task.epochs],
        "stage": PROPOSE,
    }
    if task.candidate is not None:
        found |= {
            "stage": CONFIRM,
            "candidate": task.candidate.name,
            "schedule": task.candidate.schedule.to_json(),
            "seed": task.seed,
        }
    return found


def read_task(task: tasks.Task, attributes: Mapping[str, Any]) -> SearchTask:
    """Return the task that a trial was queued with."""
    start, stop = attributes["epochs"]
    return SearchTask(
        slot=task.slot,
        parent=task.parent,
        generation_size=task.generation_size,
        policy=tuple(attributes["policy"]),
        start_epoch=start,
        epochs=stop - start,
        candidate=_read_candidate(attributes),
        seed=attributes.get("seed", 0),
    )


def _read_candidate(attributes: Mapping[str, Any]) -> Candidate | None:
    if attributes["stage"] == PROPOSE:
        return None
    name = attributes["candidate"]
    return Candidate(name, schedules.parse(attributes["schedule"], name))
