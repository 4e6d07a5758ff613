"""A whole job on this machine: the study, the workers, the watchers.

Called again after an interruption of any kind, it continues where it was. The result does not
depend on interruptions or on the number of workers.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rolekd import addresses
from rolekd.errors import RunError
from rolekd.fleet.artifacts import Artifacts, absolute_address, open_artifacts
from rolekd.fleet.jobs import Job, refuse_other_versions
from rolekd.fleet.snapshot import Snapshot, Watch
from rolekd.fleet.studies import JobStudy, delete
from rolekd.fleet.sweep import sweep
from rolekd.fleet.team import Place, work
from rolekd.processes import exclusive

_LOCK_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Storage:
    """Where a job is kept, for its workers here and elsewhere.

    Attributes:
        url: Of the database; None: SQLite in the job's state.
        artifacts: s3://BUCKET/PREFIX or a folder; None: a folder in the job's state.
        study: Name of the study; None: the job's.
        heartbeat_seconds: Between signs of life of a worker; after six without, it counts as dead.
    """

    url: str | None = None
    artifacts: str | None = None
    study: str | None = None
    heartbeat_seconds: int = 10


def run(
    job: Job,
    inputs: Path,
    state: Path,
    watch: Callable[[], Watch],
    *,
    seats: Sequence[Mapping[str, str]] = ({},),
    storage: Storage | None = None,
    fetch: Callable[[Snapshot, Artifacts], None] | None = None,
    fresh: bool = False,
    note: str = "",
) -> Snapshot:
    """Do a job, or continue it, to its end.

    Call it before the process has threads: then its workers are forked, in milliseconds. Otherwise
    pass `fresh`: a fork of threads can deadlock.

    Args:
        job: What is shared out.
        inputs: Folder of the files that `job.inputs` names.
        state: Folder for the state of this job and no other; locked meanwhile.
        watch: Called when the workers are forked; returns what is called with every snapshot
            of the study.
        seats: What each process on this machine has in its environment besides ours, this
            process first (`rolekd.train.seats`); changes no result.
        storage: Database and artifact store, if not in `state`.
        fetch: Takes what the trainings left. If that of a finished job is gone, it is done anew.
        fresh: This process has computed already: fork no worker.
        note: Markdown that says how to read the study's trials.

    Raises:
        InputError: The study holds other work, or the libraries are others.
        RunError: The database or the artifact store failed for good, or a trainer did.
    """
    storage = storage or Storage()
    url = storage.url or addresses.of_sqlite((state / "study.db").resolve())
    artifacts = absolute_address(storage.artifacts or str(state / "artifacts"))
    name = storage.study or job.name
    with _locked(state):
        refuse_other_versions(job)
        # of this job alone: one of another device or library must not be continued
        scratch, keep = _clean_scratch(state), state / "keep" / name
        keep.mkdir(exist_ok=True, parents=True)
        create = partial(JobStudy.create, url, job, name, storage.heartbeat_seconds, note)
        study = create()
        store = open_artifacts(artifacts, name)
        if fetch is not None and _forgotten(study.read(), store):
            study.close()
            delete(url, name)
            study = create()
        study.fail(None)  # it is tried again
        if study.artifacts != artifacts:
            store.put_inputs(inputs, job.inputs)
            study.publish(artifacts)
        place = Place(url, artifacts, name, inputs, keep, scratch)
        snapshot = work(study, place, seats, watch, fresh=fresh)
        if fetch is not None:
            fetch(snapshot, store)
        sweep(store, snapshot, range(len(snapshot.history)))
        study.close()
        shutil.rmtree(scratch)
    return snapshot


def _forgotten(snapshot: Snapshot, store: Artifacts) -> bool:
    """Return whether a job is finished, but something that its trainings left is missing."""
    return snapshot.finished and not all(
        store.has_state(result.task.slot, result.trial)
        for results in snapshot.history
        for result in results
        if result.state is not None
    )


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Hold the state's lock; the workers of a run that was just killed may take a moment to die."""
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(exclusive(state / "search.lock", "this work"))
                break
            except RunError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield


def _clean_scratch(state: Path) -> Path:
    """Return an empty folder for temporary files; we hold the lock, so nobody uses the old one."""
    scratch = (state / "scratch").resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    return scratch
