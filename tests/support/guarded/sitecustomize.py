"""For tests: no Python of this environment reaches another host, or writes outside the project.

Python imports it at its start wherever this folder is in PYTHONPATH; children inherit that. What
is attempted is written to GUARD_LOG, a JSON list a line, and a connection is refused. Files may be
written below the folders of GUARD_FOLDERS (separated by os.pathsep) and in /dev and /proc; of the
environment itself, Python may cache what it compiles, which the first import there does.
"""

import errno
import json
import os
import sys
from pathlib import Path

_LOG = os.environ.get("GUARD_LOG")
_FOLDERS = [
    os.path.realpath(name) for name in os.environ.get("GUARD_FOLDERS", "").split(os.pathsep)
]
_ENVIRONMENT = (os.path.realpath(sys.prefix) + os.sep, os.path.realpath(sys.base_prefix) + os.sep)
_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# event -> which of its arguments is a path that is changed
_CHANGED = {
    "os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "os.truncate": 0,
    "sqlite3.connect": 0,
}  # fmt: skip


def _note(event: str, what: object) -> None:
    line = json.dumps([event, str(what), sys.argv[:4] if hasattr(sys, "argv") else []])
    file = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def _is_elsewhere(host: object) -> bool:
    text = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "127.")
    return not text.startswith(_LOOPBACK) and text != os.uname().nodename


def _is_outside(path: object) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    name = os.fsdecode(path)
    if name in ("", ":memory:") or name.startswith("file:"):
        return False
    real = os.path.realpath(name)
    if real.startswith(("/dev/", "/proc/")) or real == os.path.realpath(_LOG):
        return False
    if "__pycache__" in Path(real).parts[-2:] and real.startswith(_ENVIRONMENT):
        return False
    return not any(real == folder or real.startswith(folder + os.sep) for folder in _FOLDERS)


def _watch(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if isinstance(address, tuple) and _is_elsewhere(address[0]):
            _note(event, address)
            raise OSError(errno.ENETUNREACH, f"a test refuses {address}")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        if _is_elsewhere(arguments[0]):
            _note(event, arguments[0])
            raise OSError(errno.ENETUNREACH, f"a test refuses to look up {arguments[0]}")
    elif event == "open":
        path, mode, flags = arguments
        if (flags or 0) & _WRITE and _is_outside(path):
            _note(f"open {mode}", os.fsdecode(path))
    elif event in _CHANGED and _is_outside(arguments[_CHANGED[event]]):
        _note(event, arguments[_CHANGED[event]])


if _LOG:
    sys.addaudithook(_watch)
