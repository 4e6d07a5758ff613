"""How far a job is, read from its study without disturbing it."""

from typing import Any

from rolekd.errors import HopelessError
from rolekd.fleet import database
from rolekd.fleet.identity import is_dead, readable
from rolekd.fleet.jobs import Job
from rolekd.fleet.snapshot import Snapshot
from rolekd.fleet.studies import JobStudy
from rolekd.fleet.tasks import Slot
from rolekd.params import SearchParams
from rolekd.search import final, lineage, phases
from rolekd.search.spec import SearchSpec


def status(study: JobStudy) -> dict[str, Any]:
    """Return how far a job is, as JSON-able values.

    Keys: study; kind; finished; tasks (done, total; an upper bound until a search is over);
    members of the generation in progress, or the last; workers at work, with the seconds since
    their last sign of life; seconds_left (None if no worker is at work, or nothing is done). For a
    search also: role; algorithm; generations and rungs (done, total); best of the algorithm
    (accuracy, epochs, line of members from the first to the winner so far; None before its first
    generation); winner of the final (name, best candidate, evidence for it; None before its end);
    fault (None, or why a final that is over has no winner).
    """
    job, snapshot = study.job, study.read()
    workers = _workers(study, snapshot)
    alive = sum(worker["alive"] for worker in workers)
    # the most that there can be; a final may have fewer candidates
    tasks = snapshot.tasks_done if snapshot.finished else job.tasks
    found = {
        "study": study.name,
        "kind": job.kind,
        "finished": snapshot.finished,
        "tasks": {"done": snapshot.tasks_done, "total": tasks},
        "members": _members(snapshot, len(snapshot.history) - snapshot.finished),
        "workers": workers,
        "seconds_left": _seconds_left(job, snapshot, alive),
    }
    if isinstance(job, SearchSpec):
        found |= _of_search(job, snapshot)
    return found


def _of_search(job: SearchSpec, snapshot: Snapshot) -> dict[str, Any]:
    settings = job.search
    return {
        "role": job.role,
        "algorithm": settings.algorithm,
        "generations": {
            "done": len(phases.proposed(snapshot.history)),
            "total": settings.generations,
        },
        "rungs": {
            "done": len(phases.rungs(snapshot.history)),
            "total": len(settings.confirm.rungs) if settings.confirm else 0,
        },
        "best": _best(snapshot),
        **_winner(settings, snapshot),
    }


def _members(snapshot: Snapshot, generation: int) -> list[dict[str, Any]]:
    held = [
        snapshot.holders[slot] for slot in sorted(snapshot.holders) if slot.generation == generation
    ]
    return [
        {
            "generation": generation,
            "member": trial.task.slot.member,
            "parent": _member(trial.task.parent),
            "what": snapshot.job.describe(trial.task),
            "state": trial.state.value,
            "accuracy": trial.result and trial.result.accuracy,
        }
        for trial in held
    ]


def _workers(study: JobStudy, snapshot: Snapshot) -> list[dict[str, Any]]:
    silent = database.seconds_silent(study.engine, study.name)
    found = []
    for trial in snapshot.running():
        living = [worker for worker in trial.workers if not is_dead(worker)]
        seconds = silent.get(trial.number, 0.0)
        found.append(
            {
                "worker": " or ".join(map(readable, living or trial.workers)),
                "generation": trial.task.slot.generation,
                "member": trial.task.slot.member,
                "seen_seconds_ago": round(seconds, 1),
                "alive": bool(living) and seconds <= study.grace_seconds,
            }
        )
    return found


def _best(snapshot: Snapshot) -> dict[str, Any] | None:
    proposed = phases.proposed(snapshot.history)
    if not any(result.accuracy is not None for results in proposed for result in results):
        return None
    line = lineage.trace(proposed)
    return {
        "accuracy": line[-1].accuracy,
        "epochs": line[-1].task.start_epoch + line[-1].task.epochs,
        "line": [result.task.slot.member for result in line],
    }


def _winner(settings: SearchParams, snapshot: Snapshot) -> dict[str, Any]:
    rungs = phases.rungs(snapshot.history)
    if not rungs or not snapshot.finished:
        return {"winner": None, "fault": None}
    try:
        found = final.verdict(settings, rungs)
    except HopelessError as error:
        return {"winner": None, "fault": str(error)}
    best = found.best
    winner = {"name": found.winner.name, "best": best.name, "evidence": best.evidence}
    return {"winner": winner, "fault": None}


def _seconds_left(job: Job, snapshot: Snapshot, workers: int) -> float | None:
    if snapshot.finished:
        return 0.0
    results = [trial.result for trial in snapshot.trials if trial.result is not None]
    recent = results[len(results) // 2 :]  # the first are slow, since libraries compile
    if not workers or not recent:
        return None
    # tasks of a search differ in length
    done, left = float(len(recent)), float(job.tasks - snapshot.tasks_done)
    if isinstance(job, SearchSpec):
        left = phases.epochs_left(job.search, job.epochs, [result.task for result in results])
        done = sum(result.task.epochs for result in recent)
    return round(sum(result.seconds for result in recent) / done * left / workers, 1)


def _member(slot: Slot | None) -> int | None:
    return None if slot is None else slot.member
