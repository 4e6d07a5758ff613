"""The worker processes of one machine: started, watched, replaced when killed, ended.

They die with the process that started them. The first are forked, which costs milliseconds, since
the parent has imported what they need; a replacement starts as a fresh interpreter, because by
then the parent has threads, and a fork of those can deadlock.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

from rolekd import display
from rolekd.errors import RolekdError, RunError
from rolekd.processes import die_with_parent
from rolekd.search.artifacts import open_artifacts
from rolekd.search.joining import make_trainer
from rolekd.search.study import Ledger
from rolekd.search.worker import Worker

# More deaths than this are not bad luck: the machine lacks memory, or a library crashes.
_MOST_REPLACEMENTS = 5

_log = logging.getLogger(__name__)


class Team:
    """Worker processes beside this one, for the length of a `with` block.

    Args:
        size: Number of processes; 0: none.
        storage: URL of the database.
        artifacts: Address of the artifact store.
        study: Name of the study.
        inputs: Folder of the input files.
        scratch: Folder for temporary files.
    """

    def __init__(
        self, size: int, storage: str, artifacts: str, study: str, inputs: Path, scratch: Path
    ) -> None:
        self._size = size
        self._arguments = (storage, artifacts, study, inputs, scratch)
        self._members: list[tuple[BaseProcess, Connection]] = []
        self._replacements = 0

    def __enter__(self) -> "Team":
        method = "fork" if _can_fork() else "spawn"
        for _ in range(self._size):
            self._start(method)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # By now they are idle, or something failed: in both cases nothing of theirs is lost.
        for process, _ in self._members:
            process.kill()  # a stopped one would never hear a request to end
        for process, pipe in self._members:
            process.join()
            pipe.close()

    def check(self) -> None:
        """Replace those that were killed; raise the error of one that failed."""
        for member in list(self._members):
            process, pipe = member
            if process.exitcode is None or process.exitcode == 0:
                continue
            self._members.remove(member)
            if process.exitcode > 0:
                raise RunError(_last_words(pipe))
            self._replacements += 1
            if self._replacements > _MOST_REPLACEMENTS:
                raise RunError(
                    f"search: {self._replacements} workers were killed, the last by signal "
                    f"{-process.exitcode}; look for the reason (memory?), then run again: "
                    "the search continues where it was"
                )
            _log.warning("a worker was killed by signal %d; starting another", -process.exitcode)
            self._start("spawn")

    def _start(self, method: str) -> None:
        context = multiprocessing.get_context(method)
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(  # type: ignore[attr-defined]
            target=_main, args=(*self._arguments, os.getpid(), theirs), daemon=True
        )
        process.start()
        theirs.close()
        self._members.append((process, ours))


def _main(
    storage: str,
    artifacts: str,
    study: str,
    inputs: Path,
    scratch: Path,
    parent: int,
    pipe: Connection,
) -> None:
    die_with_parent()
    if os.getppid() != parent:
        return  # it died before we asked to die with it
    display.guard()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us when it is interrupted
    try:
        ledger = Ledger.open(storage, study, patience=None)  # the parent has just been there
        trainer = make_trainer(ledger.spec, inputs)
        Worker(ledger, open_artifacts(artifacts, study), trainer, scratch).work()
    except RolekdError as error:
        pipe.send_bytes(str(error).encode())
        sys.exit(1)
    except Exception as error:  # multiprocessing would print it as it is
        display.say_error(f"unexpected {type(error).__name__} in a worker: {error}", error)
        sys.exit(1)


def _can_fork() -> bool:
    """Tell whether no other thread could hold a lock that a forked process would wait for."""
    # The one that `die_with_parent` starts only waits for the parent's end.
    others = {thread.name for thread in threading.enumerate()} - {"die with parent"}
    return sys.platform == "linux" and others == {threading.main_thread().name}


def _last_words(pipe: Connection) -> str:
    try:
        return pipe.recv_bytes().decode()
    except EOFError:
        return "search: a worker failed; its traceback stands above"
