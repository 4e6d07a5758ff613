"""`rolekd worker`: what it works on, and what it shows meanwhile."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rolekd.cli.progress import SearchProgress, SlotProgress
from rolekd.errors import InputError
from rolekd.fleet import study as studies
from rolekd.fleet.board import Board
from rolekd.fleet.jobs import Job
from rolekd.fleet.joining import join
from rolekd.params import MachineParams
from rolekd.search.observers import Telling
from rolekd.search.spec import SearchSpec
from rolekd.train.seats import Seat, seats

_LOOK_SECONDS = 1.0  # between two looks for more work


def work(storage: str, artifacts: str | None, study: str | None, wait: float, workers: str) -> None:
    """Work on a study, or on all that are unfinished, one after another.

    Raises:
        InputError: The study is not there; or there is none, and none comes within `wait` seconds.
    """
    machine = _machine(workers)
    done = 0
    quiet_since = time.monotonic()
    while True:
        name = study or _oldest_unfinished(storage)
        if name is not None:
            with _shown(name) as watch:
                join(storage, name, artifacts, watch, lambda job: _seats(machine, job))
            done += 1
            quiet_since = time.monotonic()
        if study:
            return
        if name is None:
            if time.monotonic() - quiet_since >= wait:
                break
            time.sleep(_LOOK_SECONDS)
    if not done:
        raise InputError(
            "worker: nothing to do in this storage; start a stage with the same ROLEKD_STORAGE, or "
            "name --wait SECONDS"
        )


def _machine(workers: str) -> MachineParams:
    try:
        return MachineParams.model_validate(
            {"workers": workers if workers == "auto" else int(workers)}
        )
    except ValueError as error:
        raise InputError(f"--workers {workers}: no number from 1 to 256, nor auto") from error


def _seats(machine: MachineParams, job: Job) -> Sequence[Seat]:
    of_job = machine.model_copy(update={"device": job.device})
    return seats(of_job, job.threads, job.slots)


def _oldest_unfinished(storage: str) -> str | None:
    ledgers, _ = studies.readable(storage)
    found = None
    for ledger in ledgers:
        # one whose inputs are not stored yet is of a moment later
        if found is None and ledger.artifacts is not None and not ledger.read().finished:
            found = ledger.name
        ledger.close()
    return found


Watch = Callable[[Job], Callable[[Board], None]]


@contextmanager
def _shown(study: str) -> Iterator[Watch]:
    """Yield what makes the watcher of a job that a worker has joined."""
    title = f"worker on {study}"
    with SearchProgress(title) as of_search, SlotProgress(title) as of_slots:

        def watch(job: Job) -> Callable[[Board], None]:
            if isinstance(job, SearchSpec):
                return Telling([of_search], job.search)
            return of_slots

        yield watch
