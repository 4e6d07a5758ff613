"""The worker processes of one machine: started, watched, replaced when killed, ended.

They die with the process that started them. The first are forked, which costs milliseconds, since
the parent has imported what they need; a replacement starts as a fresh interpreter, because by
then the parent has threads, and a fork of those can deadlock.
"""

import logging
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from rolekd import workers
from rolekd.errors import RunError
from rolekd.fleet.artifacts import open_artifacts
from rolekd.fleet.study import Ledger
from rolekd.fleet.worker import Worker, make_trainer

# More deaths than this are not bad luck: the machine lacks memory, or a library crashes.
_MOST_REPLACEMENTS = 5

_log = logging.getLogger(__name__)


class Team:
    """Worker processes beside this one, for the length of a `with` block.

    Args:
        seats: What each has in its environment besides ours; none: no process.
        storage: URL of the database.
        artifacts: Address of the artifact store.
        study: Name of the study.
        inputs: Folder of the input files.
        keep: See `rolekd.fleet.jobs.Job.make_trainer`.
        scratch: Folder for temporary files.
        fresh: Fork none, since this process has computed already.
    """

    def __init__(
        self,
        seats: Sequence[Mapping[str, str]],
        storage: str,
        artifacts: str,
        study: str,
        inputs: Path,
        keep: Path,
        scratch: Path,
        *,
        fresh: bool = False,
    ) -> None:
        self._seats, self._fresh = seats, fresh
        self._arguments = (storage, artifacts, study, inputs, keep, scratch)
        self._members: list[tuple[workers.Worker, Mapping[str, str]]] = []
        self._replacements = 0

    def __enter__(self) -> "Team":
        self._members += [(self._start(seat, self._fresh), seat) for seat in self._seats]
        return self

    def _start(self, seat: Mapping[str, str], fresh: bool) -> workers.Worker:
        return workers.Worker.start(_main, *self._arguments, fresh=fresh, environment=seat)

    def __exit__(self, *_: object) -> None:
        # By now they are idle, or something failed: in both cases nothing of theirs is lost.
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


def _fail(member: workers.Worker) -> NoReturn:
    try:
        member.receive()
    except EOFError as error:
        raise member.loss("a worker") from error
    raise AssertionError("a worker says nothing but why it fails")


def _main(
    pipe: Connection,  # noqa: ARG001  the ledger is where a worker reports
    storage: str,
    artifacts: str,
    study: str,
    inputs: Path,
    keep: Path,
    scratch: Path,
) -> None:
    ledger = Ledger.open(storage, study, patience=None)  # the parent has just been there
    trainer = make_trainer(ledger.job, inputs, keep)
    Worker(ledger, open_artifacts(artifacts, study), trainer, scratch).work()
