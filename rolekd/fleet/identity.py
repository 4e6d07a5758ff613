"""Who a worker is, so that another on the same machine sees at once that it died.

Standard library only. On Linux a process is identified by its number, its start and the namespace
of its number: a number alone is soon given to another process. Elsewhere, and between machines,
only missing heartbeats show a death, after six of them.
"""

import contextlib
import os
import socket
from pathlib import Path


def identity(pid: int | None = None) -> str:
    """Return the name of a process of this machine, None: this one: place, number, start."""
    pid = os.getpid() if pid is None else pid
    started = ""
    with contextlib.suppress(OSError):
        started = _started(pid)
    return f"{_place()}:{pid}:{started}"


def is_dead(worker: str) -> bool:
    """Return whether `worker` was a process of this very machine and no longer runs."""
    place, pid, started = worker.rsplit(":", 2)
    if place != _place() or not started:
        return False
    try:
        return _started(int(pid)) != started
    except OSError:  # it cannot be seen; its heartbeats decide
        return False


def readable(worker: str) -> str:
    """Return machine and process number of a worker."""
    machine, _, pid, _ = worker.rsplit(":", 3)
    return f"{machine}:{pid}"


def _place() -> str:
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    return f"{socket.gethostname()}:{namespace}"


def _started(pid: int) -> str:
    """Return the start of a process in clock ticks since the boot; "" if it no longer runs.

    Raises:
        OSError: It runs, but is hidden from us; or this process cannot open another file.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        try:
            os.kill(pid, 0)  # a mount of /proc can hide processes
        except ProcessLookupError:
            return ""
        raise
    state, *fields = text.rpartition(")")[2].split()  # the name before it may contain blanks
    return "" if state in "ZX" else fields[18]
