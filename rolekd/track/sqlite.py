"""MLflow's SQLite file: whether its tables are there, and how they get into a new one.

What cannot be read is not taken for what is not there: only a file that is missing or has no
bytes is filled, inside a transaction of SQLite's own, so that nothing that exists is overwritten.
"""

import contextlib
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from rolekd.errors import RunError

SECONDS_FOR_A_LOCK = 20.0  # as long as MLflow itself waits for another writer

_TABLES = {"alembic_version", "experiments", "runs"}
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# https://www.sqlite.org/fileformat2.html, "The Rollback Journal", "The Write-Ahead Log"
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_JOURNAL_PAGES = slice(16, 20)
_WAL_HEADER_BYTES = 32


def has_tables(path: Path) -> bool:
    """Return whether the file holds MLflow's tables; False: it is missing or has no bytes.

    Raises:
        RunError: It is locked, damaged, unreadable, or not MLflow's.
    """
    if _is_empty(path):
        return False
    with opened(path) as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        versions = []
        if found >= _TABLES:
            versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    if len(versions) != 1:
        raise RunError(
            f"{path}: does not have MLflow's tables, but is not empty either; nothing was changed: "
            "move it away, or name another file in track.uri"
        )
    return True


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file, whose transactions begin where the block begins them.

    Raises:
        RunError: It is locked, damaged or unreadable.
    """
    with _speaking_of(path), contextlib.closing(_open(path)) as connection:
        yield connection


def check(path: Path) -> None:
    """Read the structure of a whole database, a second for about 500 MB.

    Raises:
        RunError: It is damaged, locked or unreadable.
    """
    with opened(path) as connection:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise _damaged(path, " ".join(found.split()))


def copy_if_empty(path: Path, fresh: Path) -> None:
    """Copy the database `fresh` to `path`, unless there is something by now.

    Others see all of it or nothing, also where this process is killed.

    Raises:
        RunError: It cannot be written.
    """
    with (
        _speaking_of(path),
        contextlib.closing(_open(fresh)) as source,
        contextlib.closing(_open(path, "rwc")) as target,
    ):
        target.execute("BEGIN IMMEDIATE")
        if path.stat().st_size == 0:  # no other can write now
            for statement in source.iterdump():
                if statement not in ("BEGIN TRANSACTION;", "COMMIT;"):
                    target.execute(statement)
        target.execute("COMMIT")


def _is_empty(path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        size = 0
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read ({error.strerror}); change its permissions or track.uri"
        ) from error
    else:
        if not stat.S_ISREG(found.st_mode):
            raise RunError(f"{path}: is not a file; name a file in track.uri")
        size = found.st_size
    if size:
        return False
    for log in (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-journal")):
        if _holds_pages(log):  # SQLite would delete it, with what can still be saved
            raise RunError(
                f"{path}: is missing or empty, but {log.name} holds changes to it; "
                f"put the database back beside it, or move {log.name} away to begin a new one"
            )
    return True


def _holds_pages(log: Path) -> bool:
    """Return whether a journal or write-ahead log holds pages of its database."""
    try:
        with log.open("rb") as file:
            header = file.read(_WAL_HEADER_BYTES + 1)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise RunError(f"{log}: cannot be read ({error.strerror}); move it away") from error
    if log.name.endswith("-wal"):
        return len(header) > _WAL_HEADER_BYTES
    # one of no pages is left where `copy_if_empty` was killed
    return header.startswith(_JOURNAL_MAGIC) and any(header[_JOURNAL_PAGES])


def _open(path: Path, mode: str = "rw") -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=SECONDS_FOR_A_LOCK,
        isolation_level=None,
    )
    connection.text_factory = lambda raw: raw.decode(errors="replace")  # of a damaged file
    return connection


@contextlib.contextmanager
def _speaking_of(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line that names the file and the remedy."""
    try:
        yield
    except UnicodeDecodeError as error:  # of SQLite's own message, which names a damaged table
        raise _damaged(path, "malformed database schema") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest tells kinds of it apart
        if code in _LOCKED:
            raise RunError(
                f"{path}: another process has locked it for {SECONDS_FOR_A_LOCK:.0f} s; "
                "end that process, or wait for it and run again"
            ) from error
        if code in _DAMAGED:
            raise _damaged(path, str(error)) from error
        raise RunError(
            f"{path}: SQLite cannot use it ({error}); check its permissions and the disk"
        ) from error


def _damaged(path: Path, reason: str) -> RunError:
    return RunError(
        f"{path}: is damaged ({reason}); nothing was changed: restore it from a copy, or "
        f"move it away to begin a new one (`sqlite3 {path.name} .recover` saves what can be read)"
    )
