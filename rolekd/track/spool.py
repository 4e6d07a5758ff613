"""The local spool: every record of a run is a JSON line on disk before MLflow hears of it.

One folder per top-level run, `.rolekd/spool/<key>/`:

- `events.jsonl`: the records, in order, of the run and its children;
- `sent.json`: how many bytes of it MLflow has taken, and the MLflow id of each run;
- `artifacts/`: copies of the files to send, since DVC may replace the originals;
- `refused.jsonl`: records that MLflow will never take, kept for a person to see.

The writer holds a lock on the folder as long as it lives, so that a reader can tell a run
that goes on from one whose process died.
"""

import contextlib
import fcntl
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rolekd import files, processes

Event = dict[str, Any]

_log = logging.getLogger("rolekd.track")


class Spool:
    """The writing side. It never raises: a full disk costs records, not the training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._copies = 0
        self._broken = False
        with self._harmless():
            folder.mkdir(parents=True, mode=0o700)
            self._lock = (folder / "lock").open("a")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = (folder / "events.jsonl").open("ab")

    def append(self, event: Event) -> None:
        """Write one record and hand it to the kernel; a killed process loses nothing."""
        if self._broken:
            return
        with self._harmless():
            self._file.write(json.dumps(event).encode() + b"\n")
            self._file.flush()

    def keep(self, path: Path) -> str | None:
        """Copy a file or folder into the spool; return its place there, None if that failed."""
        if self._broken:
            return None
        with self._harmless():
            self._copies += 1
            target = self.folder / "artifacts" / str(self._copies) / path.name
            target.parent.mkdir(parents=True)
            if path.is_dir():
                shutil.copytree(path, target)
            else:
                shutil.copyfile(path, target)
            return str(target.relative_to(self.folder))
        return None

    def close(self, remove: bool) -> None:
        """Let go of the folder, and remove it if all of it was delivered."""
        if self._broken:
            return
        with self._harmless():
            self._file.close()
            self._lock.close()
            if remove:
                shutil.rmtree(self.folder)

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._broken = True
            _log.warning(
                "%s: tracking stops here (%s); the run itself goes on, but what follows is not "
                "recorded in MLflow",
                error.filename or self.folder,
                error.strerror,
            )


@dataclass
class Progress:
    """How far the delivery of one spool has come."""

    offset: int = 0
    runs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "Progress":
        """Read `sent.json`; a spool that was never sent has none."""
        path = folder / "sent.json"
        return cls(**files.read_json(path)) if path.exists() else cls()

    def save(self, folder: Path) -> None:
        """Write `sent.json` atomically."""
        files.write_json(folder / "sent.json", {"offset": self.offset, "runs": self.runs})


def read(folder: Path, offset: int) -> tuple[list[Event], int]:
    """Return the complete records after byte `offset`, and the offset behind the last of them."""
    path = folder / "events.jsonl"
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        complete, newline, _ = file.read().rpartition(b"\n")
    events = [json.loads(line) for line in complete.splitlines()]
    return events, offset + len(complete) + len(newline)


def waiting(folder: Path) -> int:
    """Return the number of records that were not sent yet."""
    return len(read(folder, Progress.load(folder).offset)[0])


def is_written(folder: Path) -> bool:
    """Tell whether a living process writes to this spool, and sends it by itself."""
    return processes.is_held(folder / "lock")


@contextlib.contextmanager
def adopted(folder: Path) -> Iterator[bool]:
    """Take over the spool of a process that ended; yield False where it still runs."""
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def end_abandoned(folder: Path) -> None:
    """Add the missing ends of an adopted spool's runs; their process was killed.

    A record that the kill cut short is dropped.
    """
    events, end = read(folder, 0)
    started = [event["run"] for event in events if event["event"] == "start"]
    ended = {event["run"] for event in events if event["event"] == "end"}
    last = max((event["time"] for event in events), default=0)
    with (folder / "events.jsonl").open("r+b") as file:
        file.truncate(end)
        file.seek(end)
        for key in reversed(started):
            if key not in ended:
                record = {"event": "end", "run": key, "time": last, "status": "KILLED"}
                file.write(json.dumps(record).encode() + b"\n")
