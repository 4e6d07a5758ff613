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

from rolekd.errors import InputError, RunError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SHELLS = {"sh", "dash", "bash", "zsh", "ksh", "fish"}


@contextlib.contextmanager
def exclusive(path: Path | str, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` while the block runs.

    The kernel drops the lock with its process, so a killed one leaves nothing to clean.

    Args:
        path: The lock file; it is made where it is missing, and stays.
        what: What the lock protects, for the error.
        wait: Wait for another holder; False: refuse at once.

    Raises:
        InputError: The lock file cannot be written.
        RunError: Another process holds the lock, and `wait` is False.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a")
    except OSError as error:
        raise InputError(
            f"{path}: cannot write here ({error.strerror}); "
            "choose a writable folder or change its permissions"
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise RunError(
                f"{path}: {what} is already running; wait for it, or end that process"
            ) from error
        yield


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
