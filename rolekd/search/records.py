"""Tasks and results as the user attributes of trials: JSON, readable in optuna-dashboard."""

from collections.abc import Mapping
from typing import Any

from rolekd.augment import schedule as schedules
from rolekd.search.phases import CONFIRM, PROPOSE
from rolekd.search.population import Candidate, Result, Slot, Task

SIGNATURE = "worker "  # begins the attribute of a worker that claims a trial


def task_attributes(task: Task) -> dict[str, Any]:
    """Return the attributes that a trial is queued with."""
    return {
        "generation": task.slot.generation,
        "member": task.slot.member,
        "parent": task.parent and [task.parent.generation, task.parent.member],
        "policy": list(task.policy),
        "epochs": [task.start_epoch, task.start_epoch + task.epochs],
        "width": task.width,
        **_final_attributes(task),
    }


def _final_attributes(task: Task) -> dict[str, Any]:
    if task.candidate is None:
        return {"stage": PROPOSE}
    candidate = task.candidate
    return {
        "stage": CONFIRM,
        "candidate": candidate.name,
        "schedule": candidate.schedule.to_json(),
        "seed": task.seed,
    }


def read_task(attributes: Mapping[str, Any]) -> Task:
    """Return the task that a trial was queued with."""
    start, stop = attributes["epochs"]
    return Task(
        slot=Slot(attributes["generation"], attributes["member"]),
        parent=Slot(*attributes["parent"]) if attributes["parent"] else None,
        policy=tuple(attributes["policy"]),
        start_epoch=start,
        epochs=stop - start,
        width=attributes["width"],
        candidate=_read_candidate(attributes),
        seed=attributes.get("seed", 0),
    )


def _read_candidate(attributes: Mapping[str, Any]) -> Candidate | None:
    if attributes["stage"] == PROPOSE:
        return None
    name = attributes["candidate"]
    return Candidate(name, schedules.parse(attributes["schedule"], name))


def outcome_attribute(result: Result) -> dict[str, Any]:
    """Return the attribute `outcome` of a done trial."""
    return {
        "accuracy": result.accuracy,
        "images_seen": result.images_seen,
        "seconds": round(result.seconds, 3),
        "state": result.state,
        "extras": dict(result.extras),
    }


def read_result(task: Task, number: int, attributes: Mapping[str, Any]) -> Result | None:
    """Return the result of a trial; None where it was entered none."""
    outcome = attributes.get("outcome")
    return None if outcome is None else Result(task, number, **outcome)


def read_workers(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return those who may have claimed a trial: all that signed, but for who came too late."""
    return tuple(
        key.removeprefix(SIGNATURE)
        for key, valid in attributes.items()
        if key.startswith(SIGNATURE) and valid
    )
