"""Worker processes of this one: they get tasks, send messages, and end with it.

Forked, they cost milliseconds, since this process has imported what they need. That is safe only
before it has threads, those of PyTorch's operations included; later they start as fresh
interpreters.
"""

import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Generic, Self, TypeVar

from rolekd import display
from rolekd.errors import InputError, RunError
from rolekd.processes import die_with_parent

T = TypeVar("T")
_TRACEBACK = 20_000  # characters; a message that fills the pipe would wait for its reader


@dataclass(frozen=True)
class _Failed:
    """The last message of a worker."""

    error: Exception


@dataclass(frozen=True)
class _Next:
    """A worker of a pool wants a task."""


@dataclass(frozen=True)
class WorkerProcess:
    """A process that works for this one, and dies with it.

    Attributes:
        process: The process.
        pipe: Our end of the pipe between the two.
    """

    process: BaseProcess
    pipe: Connection

    @classmethod
    def start(
        cls,
        main: Callable[..., None],
        *arguments: Any,
        fresh: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Start a process that calls `main(pipe, *arguments)`.

        It does not hear Ctrl-C: whoever started it ends it then.

        Args:
            main: What it does.
            arguments: Passed on; pickled where it is not forked.
            fresh: Fork it in no case, since this process has computed already.
            environment: What it has in its environment besides ours.
        """
        method = "spawn" if fresh or not _can_fork() else "fork"
        context = multiprocessing.get_context(method)
        ours, theirs = context.Pipe()
        process = context.Process(  # type: ignore[attr-defined]
            target=_enter,
            args=(main, arguments, os.getpid(), theirs, dict(environment or {})),
            daemon=True,
        )
        with _as_no_script():
            process.start()
        theirs.close()  # so that ours ends with the worker
        return cls(process, ours)

    def receive(self) -> Any:
        """Return the next message, waiting for it.

        Raises:
            EOFError: The worker has ended.
            Exception: What it failed with.
        """
        try:
            message = self.pipe.recv()
        except OSError as error:  # it ended within a message
            raise EOFError from error
        if isinstance(message, _Failed):
            raise message.error
        return message

    def loss(self, what: str) -> RunError:
        """Wait for the end of a process that has not said why it ends; `what` is its name."""
        self.process.join()
        code = self.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return RunError(
            f"{what} {how}; look for the reason (memory?), then run again: the work continues "
            "where it was"
        )


@contextlib.contextmanager
def _as_no_script() -> Iterator[None]:
    """Keep a fresh interpreter from running the script that we are, if it has no main guard.

    Whatever a worker calls is in modules.
    """
    ours = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = ours


def end(workers: Iterable[WorkerProcess]) -> None:
    """End processes, whatever they do."""
    listed = list(workers)
    for worker in listed:
        worker.process.kill()  # a stopped one would never hear a request to end
    for worker in listed:
        worker.process.join()
        worker.pipe.close()


Tell = Callable[[Any], None]
WorkFunction = Callable[[Iterator[T], Tell], None]


class Pool(Generic[T]):
    """Workers that share tasks: whoever is free takes the next.

        with Pool([{}, {}], work, "seed") as pool:
            pool.run(range(8), hear)

    Args:
        environments: What each process has in its environment besides ours; where there is one,
            this process does all the work itself.
        work: Called once in each, with an iterator over the tasks that it gets and with a
            function that takes what there is to tell.
        what: What a task is, for errors.
    """

    def __init__(
        self, environments: Sequence[Mapping[str, str]], work: WorkFunction[T], what: str
    ) -> None:
        self._environments, self._work, self._what = environments, work, what
        self._workers: list[WorkerProcess] = []

    def __enter__(self) -> Self:
        if len(self._environments) == 1:
            os.environ.update(self._environments[0])
            return self
        self._workers += [
            WorkerProcess.start(_serve, self._work, environment=each) for each in self._environments
        ]
        return self

    def __exit__(self, *_: object) -> None:
        end(self._workers)

    def run(self, tasks: Iterable[T], hear: Tell) -> None:
        """Run all tasks; once for a pool.

        Args:
            tasks: Pickled, where there are processes.
            hear: Takes, in this process, what the workers tell, each worker's in its order.

        Raises:
            Exception: What the first worker that failed failed with.
            RunError: One was killed.
        """
        left = iter(tasks)
        if not self._workers:
            self._work(left, hear)
            return
        # the task of each, in a list; an empty one tells a worker that there is none
        at_work: dict[Any, tuple[WorkerProcess, list[T]]] = {w.pipe: (w, []) for w in self._workers}
        while at_work:
            for pipe in wait(list(at_work)):
                worker, task = at_work[pipe]
                try:
                    message = worker.receive()
                    if isinstance(message, _Next):
                        task[:] = itertools.islice(left, 1)
                        worker.pipe.send(task)
                except (EOFError, BrokenPipeError, ConnectionResetError) as error:
                    which = f" of {self._what} {task[0]}" if task else ""
                    raise worker.loss(f"the process{which}") from error
                if not isinstance(message, _Next):
                    hear(message)
                elif not task:
                    del at_work[pipe]


def _serve(pipe: Connection, work: WorkFunction[T]) -> None:
    def tasks() -> Iterator[T]:
        while True:
            pipe.send(_Next())
            task = pipe.recv()
            if not task:
                return
            yield from task

    work(tasks(), pipe.send)


def _enter(
    main: Callable[..., None],
    arguments: tuple[Any, ...],
    parent: int,
    pipe: Connection,
    environment: dict[str, str],
) -> None:
    os.environ.update(environment)
    die_with_parent()
    if os.getppid() != parent:
        return  # it died before we asked to die with it
    display.guard()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us when it is interrupted
    try:
        main(pipe, *arguments)
    except Exception as error:
        pipe.send(_Failed(_portable(error)))
        sys.exit(1)


def _portable(error: Exception) -> Exception:
    """Return an error as it can be sent; its traceback here goes along as a note."""
    error.add_note(f"In a worker process:\n{traceback.format_exc()[-_TRACEBACK:]}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        kind = InputError if isinstance(error, InputError) else RunError
        sent = kind(str(error))
        sent.add_note(error.__notes__[-1])
        return sent
    return error


def _can_fork() -> bool:
    """Return whether no other thread could hold a lock that a forked process would wait for."""
    # The one that `die_with_parent` starts only waits for the parent's end.
    others = {thread.name for thread in threading.enumerate()} - {"die with parent"}
    return sys.platform == "linux" and others == {threading.main_thread().name}
