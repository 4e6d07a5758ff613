"""How far a job is, read from its study without disturbing it."""

import statistics
from typing import Any

from rolekd.fleet import database
from rolekd.fleet.board import Board, State
from rolekd.fleet.identity import is_dead, readable
from rolekd.fleet.study import Ledger
from rolekd.fleet.tasks import Slot
from rolekd.search import lineage, phases
from rolekd.search.spec import SearchSpec


def status(ledger: Ledger) -> dict[str, Any]:
    """Return how far a job is, as JSON-able values.

    Keys: study; kind; finished; slots (done, total; of a search an upper bound until it is over);
    members of the generation in progress, or the last; workers at work, with the seconds since
    their last sign of life; seconds_left (None where nobody is at work, or nothing is done). Of a
    search also: role; algorithm; generations and rungs (done, total); best of the algorithm
    (accuracy, epochs, line of members from the first to the winner so far; None before its first
    generation).
    """
    job, board = ledger.job, ledger.read()
    workers = _workers(ledger, board)
    alive = sum(worker["alive"] for worker in workers)
    # the most that there can be; a final may have fewer candidates
    slots = board.slots_done if board.finished else job.slots
    found = {
        "study": ledger.name,
        "kind": job.kind,
        "finished": board.finished,
        "slots": {"done": board.slots_done, "total": slots},
        "members": _members(board, len(board.history) - board.finished),
        "workers": workers,
        "seconds_left": _seconds_left(board, slots, alive),
    }
    if isinstance(job, SearchSpec):
        found |= _of_search(job, board)
    return found


def _of_search(job: SearchSpec, board: Board) -> dict[str, Any]:
    settings = job.search
    return {
        "role": job.role,
        "algorithm": settings.algorithm,
        "generations": {
            "done": len(phases.proposed(board.history)),
            "total": settings.generations,
        },
        "rungs": {
            "done": len(phases.rungs(board.history)),
            "total": len(settings.confirm.rungs) if settings.confirm else 0,
        },
        "best": _best(board),
    }


def _members(board: Board, generation: int) -> list[dict[str, Any]]:
    held = [board.holders[slot] for slot in sorted(board.holders) if slot.generation == generation]
    return [
        {
            "generation": generation,
            "member": entry.task.slot.member,
            "parent": _member(entry.task.parent),
            "what": board.job.describe(entry.task),
            "state": entry.state.value,
            "accuracy": entry.result and entry.result.accuracy,
        }
        for entry in held
    ]


def _workers(ledger: Ledger, board: Board) -> list[dict[str, Any]]:
    silent = database.seconds_silent(ledger.engine, ledger.name)
    found = []
    for entry in board.running():
        living = [worker for worker in entry.workers if not is_dead(worker)]
        seconds = silent.get(entry.number, 0.0)
        found.append(
            {
                "worker": " or ".join(map(readable, living or entry.workers)),
                "generation": entry.task.slot.generation,
                "member": entry.task.slot.member,
                "seen_seconds_ago": round(seconds, 1),
                "alive": bool(living) and seconds <= ledger.grace_seconds,
            }
        )
    return found


def _best(board: Board) -> dict[str, Any] | None:
    proposed = phases.proposed(board.history)
    if not any(result.accuracy is not None for results in proposed for result in results):
        return None
    line = lineage.trace(proposed)
    return {
        "accuracy": line[-1].accuracy,
        "epochs": line[-1].task.start_epoch + line[-1].task.epochs,
        "line": [result.task.slot.member for result in line],
    }


def _seconds_left(board: Board, slots: int, workers: int) -> float | None:
    if board.finished:
        return 0.0
    seconds = [
        entry.result.seconds
        for entry in board.entries[-len(board.holders) // 2 :]
        if entry.state is State.DONE and entry.result is not None
    ]
    if not workers or not seconds:
        return None
    return round(statistics.mean(seconds) * (slots - board.slots_done) / workers, 1)


def _member(slot: Slot | None) -> int | None:
    return None if slot is None else slot.member
