"""Tasks and results as the user attributes of trials: JSON, readable in optuna-dashboard."""

from collections.abc import Mapping
from typing import Any

from rolekd.fleet.jobs import Job
from rolekd.fleet.tasks import GAIN, Result, Slot, Task

SIGNATURE = "worker "  # begins the attribute of a worker that claims a trial


def task_attributes(job: Job, task: Task) -> dict[str, Any]:
    """Return the attributes that a trial is queued with."""
    return {
        "generation": task.slot.generation,
        "member": task.slot.member,
        "parent": task.parent and [task.parent.generation, task.parent.member],
        "width": task.generation_size,
        **job.write_task(task),
    }


def read_task(job: Job, attributes: Mapping[str, Any]) -> Task:
    """Return the task that a trial was queued with."""
    parent = attributes["parent"]
    task = Task(
        slot=Slot(attributes["generation"], attributes["member"]),
        parent=Slot(*parent) if parent else None,
        generation_size=attributes["width"],
    )
    return job.read_task(task, attributes)


def outcome_attribute(result: Result[Any], device: str) -> dict[str, Any]:
    """Return the attribute `outcome` of a done trial; `device` is what trained it."""
    return {
        "device": device,
        "accuracy": result.accuracy,
        "images_seen": result.images_seen,
        "seconds": round(result.seconds, 3),
        "state": result.state,
        "extras": dict(result.extras),
    }


def gain_attribute(result: Result[Any], parent: Result[Any] | None) -> dict[str, float]:
    """Return the attribute `GAIN` of a done trial, 0..1; empty if it has no gain."""
    if parent is None or parent.accuracy is None or result.accuracy is None:
        return {}
    return {GAIN: round(result.accuracy - parent.accuracy, 6)}


def read_result(task: Task, number: int, attributes: Mapping[str, Any]) -> Result[Any]:
    """Return the result of a done trial."""
    outcome = {key: value for key, value in attributes["outcome"].items() if key != "device"}
    return Result(task, number, **outcome)


def read_workers(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return who may have claimed a trial: all that signed, except those who came too late."""
    return tuple(
        key.removeprefix(SIGNATURE)
        for key, valid in attributes.items()
        if key.startswith(SIGNATURE) and valid
    )
