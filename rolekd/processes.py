"""Processes: locks that end with their holder, and lives that end with a parent's.

Standard library only.
"""

import atexit
import contextlib
import ctypes
import fcntl
import math
import os
import select
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TextIO, TypeVar

from rolekd.errors import InputError, RunError

T = TypeVar("T")

# The package filelock serves less here: it leaves its files behind, to look whether one is locked
# makes the file and needs to write it, and where flock is missing it takes a lock that a killed
# process would leave.

_SECONDS_BETWEEN_LOOKS = 0.02
_SECONDS_TO_SIGN = 0.5  # until a holder has written who it is
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_TORCHRUN = "TORCHELASTIC_RUN_ID"  # it sets this beside the ranks
# what `lock` has locked: a forked process, which shares it, would hold it after we have ended
_locked: "weakref.WeakSet[TextIO]" = weakref.WeakSet()
_SHELLS = {"sh", "dash", "bash", "zsh", "ksh", "fish"}


@contextlib.contextmanager
def exclusive(path: Path | str, what: str, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path` while the block runs, and remove it after that.

    The kernel drops the lock with its process: the file that a killed one leaves locks nobody out.

    Args:
        path: The lock file.
        what: What the lock protects, for the error.
        wait: Seconds to wait for another holder; 0: refuse at once.

    Raises:
        InputError: The lock file cannot be written.
        RunError: Another process holds the lock, longer than `wait`; or nothing can be locked here.
    """
    path = Path(path)
    deadline = time.monotonic() + wait
    while True:
        with _opened(path) as file:
            if not lock(file):
                if time.monotonic() >= deadline:
                    raise RunError(
                        f"{path}: {what} is already running; wait for it, or end that process"
                    )
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                continue
            if not is_at(path, file):  # its holder has just removed it: that lock is nobody's
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


@contextlib.contextmanager
def in_turn(path: Path, what: str, owner: str, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file `path` as `exclusive` does, after a holder that has another owner.

    A holder with the same owner is none to wait for: both would write the same files.

    Args:
        path: The lock file.
        what: What the lock protects, for the error.
        owner: On whose behalf; a line.
        waiting: Called with the owner that is waited for, once and without end.

    Raises:
        InputError: As `exclusive`.
        RunError: As `exclusive`, where the holder has the same owner.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive(path, what, wait=_SECONDS_TO_SIGN))
        except RunError:
            holder = ""
            with contextlib.suppress(OSError):
                holder = path.read_text(encoding="utf-8")
            if holder in ("", owner):
                raise
            waiting(holder)
            stack.enter_context(exclusive(path, what, wait=math.inf))
        path.write_text(owner, encoding="utf-8")
        yield


def lock(file: TextIO) -> bool:
    """Lock an open file until it is closed, or its process ends; False: another has locked it.

    A process that is forked meanwhile does not hold the lock, and finds the file closed.

    Raises:
        RunError: The file system has no locks, or none left.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise RunError(
            f"{file.name}: cannot be locked ({error.strerror}); put the project on a file system "
            "that has locks"
        ) from error
    _locked.add(file)
    return True


def _let_go() -> None:
    for file in list(_locked):
        file.close()


os.register_at_fork(after_in_child=_let_go)


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock file `path`; one that is not there is not held.

    Raises:
        RunError: The file cannot be opened, so that nobody can tell.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return not lock(file)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read ({error.strerror}); change its permissions"
        ) from error


def within(seconds: float, action: Callable[[], T]) -> T:
    """Call `action` in a thread of its own, and return what it returns.

    An action that takes longer is left behind: its thread ends with the process.

    Raises:
        TimeoutError: It took longer than `seconds`.
        Exception: Whatever the action raises.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, name=f"within {seconds:.0f} s", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer for {seconds:.0f} s")
    return results[0]


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: cannot write here ({error.strerror}); "
            "choose a writable folder or change its permissions"
        ) from error


def is_at(path: Path, file: TextIO) -> bool:
    """Return whether `path` still is the open `file`: not removed, nor another of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def die_with_parent() -> None:
    """End this process, by SIGKILL, as soon as its parent has ended (Linux; elsewhere no effect).

    DVC leaves a stage running when it is killed itself, and a stage that continues writing could
    meet its own successor. Where the parent is a shell that only waits for this process, the
    shell's parent is watched too; only that takes a thread.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)
    if _command(parent) in _SHELLS:
        threading.Thread(
            target=_die_with, args=(_parent(parent),), name="die with parent", daemon=True
        ).start()


def _die_with(pid: int) -> None:
    poll = select.poll()
    # an ancestor that has ended already is none to wait for
    with contextlib.suppress(ProcessLookupError):
        poll.register(os.pidfd_open(pid), select.POLLIN)
        poll.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _parent(pid: int) -> int:
    # the command's name, in parentheses, may hold spaces: the fields after it do not
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return int(text.rpartition(")")[2].split()[1])


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def team_size() -> int:
    """Return the number of processes that torchrun started for one training; without it 1."""
    return int(os.environ["WORLD_SIZE"]) if _TORCHRUN in os.environ else 1


def team_rank() -> int:
    """Return this process's number among them; number 0 writes what there is to write."""
    return int(os.environ["RANK"]) if _TORCHRUN in os.environ else 0


def local_rank() -> int:
    """Return this process's number among those of its machine: the number of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if _TORCHRUN in os.environ else 0


def leave(status: int) -> NoReturn:
    """End this process as it ends by itself, but at once.

    Where torch and mlflow are loaded, Python takes a second to clear module after module of what
    the kernel frees anyway. Threads are waited for, exit handlers called, output written.
    """
    if sys.getprofile() is not None or sys.gettrace() is not None:  # they report at the very end
        sys.exit(status)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):  # nobody reads it any more
        sys.exit(status)  # Python knows what to say of that
    os._exit(status)
