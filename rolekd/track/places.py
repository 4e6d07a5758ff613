"""Artifacts beside an SQLite store, even if its folder was moved or copied.

MLflow stores absolute paths, in four places. What `store.artifact_location` names lies beside the
database; so a location that ends like ours and begins with another folder tells where the database
was before. Standard library only.
"""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rolekd.track import sqlite

MLRUNS_FOLDER = "mlruns"

_EXPERIMENTS = ("experiments", "artifact_location")
_KEPT = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True)
class Move:
    """A folder in which a database was, and whose artifacts it still names.

    Attributes:
        old: that folder.
        arrived: the artifacts are here too, or no more where they were.
    """

    old: Path
    arrived: bool


def local(uri: str) -> Path | None:
    """Return the path that the address of artifacts names on this machine; None: it names none."""
    if uri.startswith("/"):
        return Path(uri)
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    return Path(unquote(parts.path))


def location(database: Path, experiment: str) -> str:
    """Return where an experiment of a database in a file keeps its artifacts."""
    return (database.parent / MLRUNS_FOLDER / experiment).as_uri()


def moves(database: Path) -> list[Move]:
    """Return the folders in which a database was before, as far as it still names them.

    Raises:
        RunError: It is locked, damaged or unreadable.
    """
    with sqlite.opened(database) as connection:
        return _moves(connection, database)


def missing(database: Path) -> list[Path]:
    """Return the folders of registered versions that should be on this machine and are not.

    They are looked for where `settle` will let the database look.

    Raises:
        RunError: It is locked, damaged or unreadable.
    """
    with sqlite.opened(database) as connection:
        rows = connection.execute(
            "SELECT storage_location FROM model_versions WHERE current_stage != 'Deleted_Internal'"
        ).fetchall()
        arrived = [move.old for move in _moves(connection, database) if move.arrived]
    found = []
    for (uri,) in rows:
        path = local(uri or "")
        for old in arrived:
            if path is not None and path.is_relative_to(old / MLRUNS_FOLDER):
                path = database.parent / path.relative_to(old)
        if path is not None and not path.is_dir():
            found.append(path)
    return found


def settle(database: Path) -> list[Move]:
    """Update a database that names a folder in which it was before.

    New artifacts go beside it. Those of before are looked for beside it as well, unless they did
    not come along, and are still where they were.

    Returns:
        What was mended.

    Raises:
        RunError: It is locked, damaged or unreadable.
    """
    found = moves(database)
    if not found:
        return []
    with sqlite.opened(database) as connection:
        connection.execute("BEGIN IMMEDIATE")
        found = _moves(connection, database)  # another process may have been faster
        for move in found:
            for table, column in (_EXPERIMENTS, *(_KEPT if move.arrived else ())):
                for old, new in _beginnings(move.old, database.parent):
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (new, len(old) + 1, len(old), old),
                    )
        connection.execute("COMMIT")
    return found


def _moves(connection: sqlite3.Connection, database: Path) -> list[Move]:
    rows = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
    folders = []
    for name, uri in rows:
        path = local(uri or "")
        if path is not None and path.parts[-2:] == (MLRUNS_FOLDER, name):
            folders.append(path.parent.parent)
    here = database.parent
    return [
        Move(old, (here / MLRUNS_FOLDER).exists() or not (old / MLRUNS_FOLDER).exists())
        for old in dict.fromkeys(folders)
        if not _is_same(old, here)
    ]


def _is_same(one: Path, other: Path) -> bool:
    if one == other:
        return True
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return False


def _beginnings(old: Path, new: Path) -> list[tuple[str, str]]:
    """Return how artifacts' addresses begin in both folders: MLflow's own have no scheme."""
    return [
        (f"{way(old / MLRUNS_FOLDER)}/", f"{way(new / MLRUNS_FOLDER)}/")
        for way in (Path.as_uri, str)
    ]
