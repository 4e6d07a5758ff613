"""A whole search on this machine: the ledger, the workers, the observers, the result.

    spec = member.describe(params, "teacher", inputs)
    state = Path(".rolekd/state", f"search_teacher-{spec.fingerprint[:12]}")
    found = run(spec, inputs, state, [bar], workers=params.machine.workers)
    found.schedule.save("schedule.json")

Called again after an interruption, whatever its kind, it continues where it was, and what it
returns is the same as without the interruption and with any number of workers.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rolekd.errors import RunError
from rolekd.processes import exclusive
from rolekd.search import final, lineage, phases
from rolekd.search.artifacts import absolute, open_artifacts
from rolekd.search.board import Board
from rolekd.search.history import Found
from rolekd.search.joining import make_trainer, refuse_other_versions
from rolekd.search.observers import Observer, Telling
from rolekd.search.spec import SearchSpec
from rolekd.search.study import Ledger
from rolekd.search.team import Team
from rolekd.search.trainer import find_trainer
from rolekd.search.worker import Worker

_LOCK_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Storage:
    """Where a search is kept, for its workers here and elsewhere.

    Attributes:
        url: Of the database; None: SQLite in the search's state.
        artifacts: s3://BUCKET/PREFIX or a folder; None: a folder in the search's state.
        study: Name of the study; None: role and fingerprint.
        heartbeat_seconds: Sign of life of a worker; silent for six of them, it is taken for dead.
    """

    url: str | None = None
    artifacts: str | None = None
    study: str | None = None
    heartbeat_seconds: int = 10


def run(
    spec: SearchSpec,
    inputs: Path,
    state: Path,
    observers: Sequence[Observer] = (),
    *,
    workers: int = 1,
    storage: Storage | None = None,
) -> Found:
    """Run a search, or continue it, to its end.

    Call it before the process has threads of its own: then its workers start in milliseconds.

    Args:
        spec: What is searched.
        inputs: Folder of the files that `spec.inputs` names.
        state: Folder for the state of this search and no other; locked meanwhile.
        observers: Told of every result.
        workers: Processes on this machine, this one included; changes no result.
        storage: Database and artifact store, if not in `state`.

    Raises:
        InputError: The study holds another search, or the libraries are others.
        RunError: The database or the artifact store failed for good, or every member diverged.
    """
    storage = storage or Storage()
    url = storage.url or f"sqlite:///{(state / 'study.db').resolve()}"
    artifacts = absolute(storage.artifacts or str(state / "artifacts"))
    study = storage.study or spec.name
    with _locked(state):
        refuse_other_versions(spec)
        find_trainer(spec.trainer)  # imports what the forked workers need
        scratch = _clean_scratch(state)
        ledger = Ledger.create(url, spec, study, storage.heartbeat_seconds)
        store = open_artifacts(artifacts, study)
        if ledger.artifacts != artifacts:
            store.put_inputs(inputs, spec.inputs)
            ledger.publish(artifacts)
        ledger.close()  # a connection must not be shared through a fork
        with Team(workers - 1, url, artifacts, study, inputs, scratch) as team:
            tell = Telling(observers, spec.search)

            def pulse(board: Board) -> None:
                team.check()
                tell(board)

            worker = Worker(ledger, store, make_trainer(spec, inputs), scratch, pulse)
            board = worker.work()
        worker.sweep(board, list(range(len(board.history))))
        ledger.close()
        shutil.rmtree(scratch)
    proposed, rungs = phases.proposed(board.history), phases.rungs(board.history)
    line = lineage.trace(proposed) if proposed else []
    verdict = final.verdict(spec.search, rungs) if rungs else None
    found = Found(spec.search, board.history, line, verdict)
    for observer in observers:
        observer.finished(found)
    return found


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Hold the state's lock; the workers of a run that was just killed may take a moment to die."""
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(exclusive(state / "search.lock", "this search"))
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
