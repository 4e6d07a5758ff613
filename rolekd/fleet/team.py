"""The worker processes of one machine: started, watched, replaced when killed, ended.

They die with the process that started them. The first are forked, which costs milliseconds, since
the parent has imported what they need; a replacement starts as a fresh interpreter, because by
then the parent has threads, and a fork of those can deadlock.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from rolekd import workers
from rolekd.errors import RunError
from rolekd.fleet.artifacts import open_artifacts
from rolekd.fleet.snapshot import Snapshot, Watch
from rolekd.fleet.studies import JobStudy
from rolekd.fleet.worker import Worker, make_trainer

# More deaths than this are not bad luck: the machine lacks memory, or a library crashes.
_MOST_REPLACEMENTS = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where the workers of this machine find a job, and what they share.

    Attributes:
        storage: URL of the database.
        artifacts: Address of the artifact store.
        study: Name of the study.
        inputs: Folder of the input files.
        keep: See `rolekd.fleet.jobs.Job.make_trainer`.
        scratch: Folder for temporary files.
    """

    storage: str
    artifacts: str
    study: str
    inputs: Path
    keep: Path
    scratch: Path

    def worker(self, study: JobStudy, pulse: Watch | None = None) -> Worker:
        """Make the worker of this process."""
        trainer = make_trainer(study.job, self.inputs, self.keep)
        store = open_artifacts(self.artifacts, self.study)
        return Worker(study, store, trainer, self.scratch, pulse)


def work(
    study: JobStudy,
    place: Place,
    seats: Sequence[Mapping[str, str]],
    watch: Callable[[], Watch],
    *,
    fresh: bool = False,
) -> Snapshot:
    """Do a job to its end in this process and in others beside it.

    Args:
        study: The job's.
        place: Where everything is.
        seats: What each process has in its environment besides ours, this process first.
        watch: Called when the others are forked; returns what is called with every reading.
        fresh: This process has computed already: fork none.

    Returns:
        The last reading of this process.
    """
    os.environ.update(seats[0])
    study.job.preload()  # what the forked workers need
    study.close()  # a connection must not be shared through a fork
    with Team(seats[1:], place, fresh=fresh) as team:
        tell = watch()

        def pulse(snapshot: Snapshot) -> None:
            team.check()
            tell(snapshot)

        return place.worker(study, pulse).work()


class Team:
    """Worker processes beside this one, for the length of a `with` block.

    Args:
        seats: What each has in its environment besides ours; empty: no process.
        place: Where everything is.
        fresh: This process has computed already: fork none.
    """

    def __init__(
        self, seats: Sequence[Mapping[str, str]], place: Place, *, fresh: bool = False
    ) -> None:
        self._seats, self._place, self._fresh = seats, place, fresh
        self._members: list[tuple[workers.WorkerProcess, Mapping[str, str]]] = []
        self._replacements = 0

    def __enter__(self) -> "Team":
        self._members += [(self._start(seat, self._fresh), seat) for seat in self._seats]
        return self

    def _start(self, seat: Mapping[str, str], fresh: bool) -> workers.WorkerProcess:
        return workers.WorkerProcess.start(_main, self._place, fresh=fresh, environment=seat)

    def __exit__(self, *_: object) -> None:
        # By now they are idle, or something failed: either way, nothing of theirs is lost.
        workers.end(member for member, _ in self._members)

    def check(self) -> None:
        """Replace those that were killed; raise the error of one that failed."""
        for member, seat in list(self._members):
            code = member.process.exitcode
            if code is None or code == 0:
                continue
            self._members.remove((member, seat))
            if code > 0:
                _fail(member)
            self._replacements += 1
            if self._replacements > _MOST_REPLACEMENTS:
                raise RunError(
                    f"{self._replacements} workers were killed, the last by signal {-code}; look "
                    "for the reason (memory?), then run again: the work continues where it was"
                )
            _log.warning("a worker was killed by signal %d; starting another", -code)
            self._members.append((self._start(seat, fresh=True), seat))


def _fail(member: workers.WorkerProcess) -> NoReturn:
    try:
        member.receive()
    except EOFError as error:
        raise member.loss("a worker") from error
    raise AssertionError("a worker says nothing but why it fails")


def _main(pipe: Connection, place: Place) -> None:
    del pipe  # the study is where a worker reports
    # patiently: the parent has just reached this database
    place.worker(JobStudy.open(place.storage, place.study, patience=None)).work()
