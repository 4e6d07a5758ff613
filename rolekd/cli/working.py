"""`rolekd worker`: the studies that it works on, and its progress."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rolekd.cli.progress import SearchProgress, TaskProgress
from rolekd.display import say_error
from rolekd.errors import InputError, RolekdError
from rolekd.fleet import studies
from rolekd.fleet.jobs import Job
from rolekd.fleet.remote import attach, misfit
from rolekd.fleet.snapshot import Watch
from rolekd.params import MachineParams
from rolekd.search.observers import Notifier
from rolekd.search.spec import SearchSpec
from rolekd.train import devices
from rolekd.train.seats import Seat, seats

_LOOK_SECONDS = 1.0  # between two looks for more work


def work(storage: str, artifacts: str | None, study: str | None, wait: float, workers: str) -> None:
    """Work on a study, or on all that are unfinished, one after another.

    Studies that this machine cannot work on are reported once and left to others.

    Raises:
        InputError: The study does not exist, or this machine cannot work on it; or no study comes
            within `wait` seconds.
    """
    # before the first study, which gives this process a seat: then it sees one GPU only
    machine, gpus = machine_of(workers), devices.gpus()
    left: dict[str, str] = {}
    done, quiet_since = 0, time.monotonic()
    while True:
        name = study or _oldest_unfinished(storage, left)
        if name is not None:
            try:
                with _shown(name) as watch:
                    attach(
                        storage,
                        name,
                        artifacts,
                        watch,
                        lambda job: _seats(machine, job, gpus),
                        fresh=done > 0,
                    )
            except RolekdError:
                # whoever started the study may have finished it meanwhile, and cleared its store
                if study or not _is_over(storage, name):
                    raise
            done, quiet_since = done + 1, time.monotonic()
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


def machine_of(workers: str) -> MachineParams:
    """Return what is used of this machine, from the value of the option --workers."""
    try:
        return MachineParams.model_validate(
            {"workers": workers if workers == "auto" else int(workers)}
        )
    except ValueError as error:
        raise InputError(f"--workers {workers}: is not a number from 1 to 256 or auto") from error


def _seats(machine: MachineParams, job: Job, gpus: Sequence[str]) -> Sequence[Seat]:
    of_job = machine.model_copy(update={"device": job.device})
    return seats(of_job, job.threads, job.tasks, gpus)


def _is_over(storage: str, name: str) -> bool:
    study = studies.JobStudy.open(storage, name)
    try:
        return study.read().finished
    finally:
        study.close()


def _oldest_unfinished(storage: str, left: dict[str, str]) -> str | None:
    """Return the first study to work on; `left` gets the reasons why others are skipped."""
    for study, _ in studies.each_open(storage):
        if study is None or study.read().finished:
            continue
        reason = misfit(study)
        if reason is None:
            return study.name
        if left.get(study.name) != reason:
            left[study.name] = reason
            say_error(reason)
    return None


MakeWatcher = Callable[[Job], Watch]


@contextmanager
def _shown(study: str) -> Iterator[MakeWatcher]:
    """Yield a function that makes the watcher of a worker's job."""
    title = f"worker on {study}"
    with SearchProgress(title) as of_search, TaskProgress(title) as of_tasks:

        def watch(job: Job) -> Watch:
            if isinstance(job, SearchSpec):
                return Notifier([of_search], job)
            return of_tasks

        yield watch
