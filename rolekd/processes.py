"""Processes: locks that end with their holder, and lives that end with a parent's.

Standard library only.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from rolekd.errors import InputError, RunError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_TORCHRUN = "TORCHELASTIC_RUN_ID"  # it sets this beside the ranks
_SHELLS = {"sh", "dash", "bash", "zsh", "ksh", "fish"}


@contextlib.contextmanager
def exclusive(path: Path | str, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` while the block runs, and remove it after that.

    The kernel drops the lock with its process: the file that a killed one leaves locks nobody out.

    Args:
        path: The lock file.
        what: What the lock protects, for the error.
        wait: Wait for another holder; False: refuse at once.

    Raises:
        InputError: The lock file cannot be written.
        RunError: Another process holds the lock, and `wait` is False.
    """
    path = Path(path)
    refused = RunError(f"{path}: {what} is already running; wait for it, or end that process")
    while True:
        with _opened(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise refused from error
            if not _is_at(path, file):  # its holder has just removed it: that lock is nobody's
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def is_held(path: Path) -> bool:
    """Tell whether a process holds the lock file `path`."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # removed with its holder, or not ours to read
        return False
    return False


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except OSError as error:
        raise InputError(
            f"{path}: cannot write here ({error.strerror}); "
            "choose a writable folder or change its permissions"
        ) from error


def _is_at(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def die_with_parent() -> None:
    """End this process, by SIGKILL, as soon as its parent has ended (Linux; elsewhere no effect).

    DVC leaves a stage running when it is killed itself, and a stage that goes on writing could
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
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _parent(pid: int) -> int:
    # the command's name, in parentheses, may hold spaces: the fields after it do not
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def team_size() -> int:
    """Return the number of processes that torchrun started for one training; without it 1."""
    return int(os.environ["WORLD_SIZE"]) if _TORCHRUN in os.environ else 1


def team_rank() -> int:
    """Return this process's number among them; number 0 writes what there is to write."""
    return int(os.environ["RANK"]) if _TORCHRUN in os.environ else 0


def local_rank() -> int:
    """Return this process's number among those of its machine: the number of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if _TORCHRUN in os.environ else 0
