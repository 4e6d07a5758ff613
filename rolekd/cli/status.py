"""How far a search is, read from its study without disturbing it."""

import statistics
from typing import Any

from rolekd.search import database, lineage, phases
from rolekd.search.board import Board, State
from rolekd.search.identity import is_dead, readable
from rolekd.search.population import Slot
from rolekd.search.study import Ledger


def status(ledger: Ledger) -> dict[str, Any]:
    """Return where a search stands, as JSON-able values.

    Keys: study; role; algorithm; finished; generations, rungs and slots (done, total); members of
    the generation in progress, or the last; workers at work, with the seconds since their last sign
    of life; best of the algorithm (accuracy, epochs, line of members from the first to the winner
    so far; None before its first generation); seconds_left (None where nobody is at work, or
    nothing is done).
    """
    settings, board = ledger.spec.search, ledger.read()
    workers = _workers(ledger, board)
    alive = sum(worker["alive"] for worker in workers)
    return {
        "study": ledger.name,
        "role": ledger.spec.role,
        "algorithm": settings.algorithm,
        "finished": board.finished,
        "generations": {
            "done": len(phases.proposed(board.history)),
            "total": settings.generations,
        },
        "rungs": {
            "done": len(phases.rungs(board.history)),
            "total": len(settings.confirm.rungs) if settings.confirm else 0,
        },
        # before its end it is an upper bound: a final may have fewer candidates
        "slots": {
            "done": board.slots_done,
            "total": board.slots_done if board.finished else settings.slots,
        },
        "members": _members(board, len(board.history) - board.finished),
        "workers": workers,
        "best": _best(board),
        "seconds_left": _seconds_left(board, settings.slots, alive),
    }


def _members(board: Board, generation: int) -> list[dict[str, Any]]:
    held = [board.holders[slot] for slot in sorted(board.holders) if slot.generation == generation]
    return [
        {
            "generation": generation,
            "member": entry.task.slot.member,
            "parent": _member(entry.task.parent),
            "candidate": entry.task.candidate and entry.task.candidate.name,
            "seed": entry.task.seed if entry.task.candidate else None,
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
