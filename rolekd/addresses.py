"""Addresses of databases in files: written and read here, and nowhere else.

SQLAlchemy takes the path in an SQLite address for quoted, and a `?` for the start of options; a
folder may be named `feature%2Fx`, or anything else. Standard library only.
"""

import re
from pathlib import Path
from urllib.parse import unquote

_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?P<path>[^?]*)(?P<options>\?.*)?", re.DOTALL)
_IN_MEMORY = ("", ":memory:")
# `%` first. A driver's name keeps MLflow from making a folder of the quoted name.
_QUOTED = (("%", "%25"), ("?", "%3F"))


def of_sqlite(path: Path | str) -> str:
    """Return the address of an SQLite file, which may be named in any way."""
    plain = quoted = str(path)
    for letter, code in _QUOTED:
        quoted = quoted.replace(letter, code)
    return f"sqlite{'' if quoted == plain else '+pysqlite'}:///{quoted}"


def sqlite_file(address: str) -> Path | None:
    """Return the file that an SQLite address names; None for another database, or in memory."""
    found = _SQLITE.fullmatch(address)
    if found is None or found["path"] in _IN_MEMORY:
        return None
    return Path(unquote(found["path"]))


def absolute(address: str, root: Path) -> str:
    """Return the address with a relative SQLite file below `root`; another as it is."""
    file, found = sqlite_file(address), _SQLITE.fullmatch(address)
    if file is None or found is None or file.is_absolute():
        return address
    return f"{of_sqlite(root / file)}{found['options'] or ''}"
