"""The local spool: every record of a run is a JSON line on disk before MLflow hears of it.

One folder per top-level run, `.rolekd/spool/<key>/`:

- `events.jsonl`: the records, in order, of the run and its children;
- `sent.json`: how many bytes of it MLflow has taken, and the MLflow id of each run;
- `artifacts/`: copies of the files to send, since DVC may replace the originals;
- `refused.jsonl`: records that MLflow will never take, kept for a person to see.

The writer holds a lock on the folder as long as it lives, so that a reader can tell a run
that continues from one whose process died. A folder appears, locked, and disappears at a stroke:
`.<key>.new` is being made, `.<key>.sent` is being removed. What is not as it must be stays.
"""

import contextlib
import itertools
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from rolekd import files, processes
from rolekd.errors import RunError
from rolekd.track import events
from rolekd.track.events import Event

_MOST_PROGRESS = 2**24  # bytes of sent.json: a line for each run
_EVENTS = "events.jsonl"
_SENT = ".sent"

_log = logging.getLogger("rolekd.track")


class DamagedSpoolError(RunError):
    """A spool contradicts itself; it is kept as it is."""


class GoneError(Exception):
    """Another process has sent and removed the spool."""


class Spool:
    """The writing side. It never raises: a full disk costs records, not the training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._copies = 0
        self._broken = False
        with self._harmless():
            made = folder.with_name(f".{folder.name}.new")
            made.mkdir(parents=True, mode=0o700)
            self._lock = (made / "lock").open("a")
            processes.lock(self._lock)
            self._file = (made / _EVENTS).open("ab")
            made.rename(folder)

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
            if remove:
                discard(self.folder)
            self._lock.close()

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RunError) as error:
            self._broken = True
            named, reason = self.folder, str(error)
            if isinstance(error, OSError):
                named, reason = error.filename or named, error.strerror or reason
            _log.warning(
                "%s: tracking stops here (%s); the run itself continues, but what follows is not "
                "recorded in MLflow",
                named,
                reason,
            )


@dataclass
class Delivered:
    """How far the delivery of one spool has come.

    Attributes:
        offset: bytes of `events.jsonl` that MLflow has taken: whole records.
        runs: key of each run that was started in them -> its MLflow id.
    """

    offset: Annotated[int, Field(ge=0, le=2**62)] = 0  # more is not a place in a file
    runs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "Delivered":
        """Read `sent.json`; a spool that was never sent has none.

        Raises:
            DamagedSpoolError: It is there, but cannot be read.
        """
        path = folder / "sent.json"
        try:
            return TypeAdapter(cls).validate_json(files.read_bytes(path, _MOST_PROGRESS))
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise _damaged(path, error.strerror or "cannot be read") from error
        except ValidationError as error:
            raise _damaged(path, error.errors()[0]["msg"]) from error

    def save(self, folder: Path) -> None:
        """Write `sent.json` atomically."""
        files.write_json(folder / "sent.json", asdict(self))


def read(folder: Path, offset: int, limit: int | None = None) -> tuple[list[Event], int]:
    """Return the complete records after byte `offset`, and the offset behind the last of them.

    Args:
        folder: The spool.
        offset: In `events.jsonl`, behind a record.
        limit: The largest number of records to return; None: all.

    Raises:
        DamagedSpoolError: A record is none, or `offset` is not behind one.
    """
    path = folder / _EVENTS
    lines: list[bytes] = []
    try:
        with files.open_regular(path) as file:
            file.seek(max(offset - 1, 0))
            behind_one = offset == 0 or file.read(1) == b"\n"
            lines += itertools.islice(file, limit)
    except (FileNotFoundError, NotADirectoryError):
        behind_one = offset == 0
    except OSError as error:
        raise _damaged(path, error.strerror or "cannot be read") from error
    if not behind_one:
        raise _damaged(path, f"sent.json counts {offset} bytes, and no record ends there")
    found = []
    for line in lines:
        if not line.endswith(b"\n"):  # it is being written, or was when its process was killed
            break
        try:
            found.append(events.parse(line))
        except ValueError as error:
            raise _damaged(path, f"the record at byte {offset} is none: {error}") from error
        offset += len(line)
    return found, offset


def inspect(folder: Path) -> tuple[list[Event], Delivered]:
    """Return the records of a spool that nobody writes, and how far their delivery has come.

    Raises:
        DamagedSpoolError: They contradict each other, or cannot be read.
    """
    progress = Delivered.load(folder)
    path = folder / _EVENTS
    if not path.exists():
        raise _damaged(path, "is missing")
    found, end = read(folder, 0)
    with files.open_regular(path) as file:
        file.seek(end)
        rest = file.read()
    if not (rest.startswith(b'{"event"') or b'{"event"'.startswith(rest)):
        raise _damaged(path, f"what follows byte {end} is not a record that a kill cut short")
    if not found and (folder / "artifacts").exists():
        raise _damaged(path, "is empty, but there are files to send")
    sent = len(found) - len(read(folder, progress.offset)[0])
    if _started(path, found, sent) != progress.runs.keys():
        raise _damaged(folder / "sent.json", f"names other runs than the records in {_EVENTS}")
    return found, progress


def _started(path: Path, found: list[Event], count: int) -> set[str]:
    """Return the runs that the first `count` records start; none may speak before its start."""
    started: dict[str, int] = {}
    for number, event in enumerate(found):
        if event["event"] == "start":
            started[event["run"]] = number
        elif event["run"] not in started:
            raise _damaged(path, f"record {number + 1} is of a run that was not started")
    return {run for run, number in started.items() if number < count}


def folders(root: Path) -> list[Path]:
    """Return the spools in a folder, those of living processes included.

    Raises:
        RunError: The folder cannot be read.
    """
    try:
        entries = sorted(root.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        reason = error.strerror
        raise RunError(f"{root}: cannot be read ({reason}); change its permissions") from error
    return [entry for entry in entries if not entry.name.startswith(".") and entry.is_dir()]


def waiting(folder: Path) -> int:
    """Return the number of records that were not sent yet."""
    _, progress = inspect(folder)
    return len(read(folder, progress.offset)[0])


def is_written(folder: Path) -> bool:
    """Return whether a living process writes to this spool, and sends it by itself."""
    return processes.is_held(folder / "lock")


@contextlib.contextmanager
def adopted(folder: Path) -> Iterator[bool]:
    """Take over the spool of a process that ended; yield False where it still runs.

    Raises:
        GoneError: It was sent and removed meanwhile.
    """
    path = folder / "lock"
    if path.exists() and not path.is_file():  # to open a pipe could wait for ever
        raise _damaged(path, "is not a regular file")
    try:
        lock = path.open("a")
    except FileNotFoundError as error:
        raise GoneError from error
    with lock:
        ours = processes.lock(lock)
        if ours and not processes.is_at(path, lock):
            raise GoneError
        yield ours


def discard(folder: Path) -> None:
    """Remove a spool whose lock is held, and what killed processes left of others."""
    folder.rename(folder.with_name(f".{folder.name}{_SENT}"))
    for path in folder.parent.glob(f".*{_SENT}"):
        shutil.rmtree(path, ignore_errors=True)  # another may do the same


def end_abandoned(folder: Path) -> None:
    """Add the missing ends of an adopted spool's runs; their process was killed.

    A record that the kill cut short is dropped.

    Raises:
        DamagedSpoolError: The spool contradicts itself; nothing is changed.
    """
    found, _ = inspect(folder)
    end = read(folder, 0)[1]
    started = {event["run"]: event for event in found if event["event"] == "start"}
    ended = {event["run"] for event in found if event["event"] == "end"}
    last = max((event["time"] for event in found), default=0)
    with (folder / _EVENTS).open("r+b") as file:
        file.truncate(end)
        file.seek(end)
        for key in reversed(started):
            if key not in ended:
                record = {"event": "end", "run": key, "time": last, "status": "KILLED"}
                if started[key].get("shared"):
                    record["shared"] = True
                file.write(json.dumps(record).encode() + b"\n")


def _damaged(path: Path, reason: str) -> DamagedSpoolError:
    return DamagedSpoolError(
        f"{path}: {reason}; nothing was changed: mend it (without sent.json all is sent again, "
        "and nothing is recorded twice), or move its folder away"
    )
