"""What a process uses: processors, memory, and whether it only waits."""

import contextlib
import os
import time
from pathlib import Path


def mark_peak() -> int:
    """Return the resident bytes of this process from which `peak` grows in what follows."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not allowed here: only a new peak of the process is seen
        return peak()
    return _field("self", "VmRSS")


def peak() -> int:
    """Return the largest resident bytes of this process since `mark_peak`."""
    return _field("self", "VmHWM")


class Watch:
    """What a process has used since this was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._active = time.monotonic()
        self._seconds = _seconds(pid)
        self._size = _field(pid, "VmRSS")

    def seconds(self) -> float:
        """Return the seconds of a processor."""
        return _seconds(self._pid) - self._seconds

    def grown(self) -> int:
        """Return the bytes."""
        return _field(self._pid, "VmRSS") - self._size

    def idle(self) -> float:
        """Return for how many seconds it was seen to do nothing; to be asked often."""
        if _is_active(self._pid):
            self._active = time.monotonic()
        return time.monotonic() - self._active


def _field(process: object, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) << 10
    return 0


def _is_active(pid: int) -> bool:
    """Return whether a thread of a process uses, or waits for, a processor or a disk."""
    with contextlib.suppress(OSError):
        return any(
            (thread / "stat").read_text().rpartition(")")[2].split()[0] in "RD"
            for thread in Path(f"/proc/{pid}/task").iterdir()
        )
    return False


def _seconds(pid: int) -> float:
    """Return the seconds of a processor that a process has used."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
