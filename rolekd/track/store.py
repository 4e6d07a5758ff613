"""Where MLflow keeps the runs: the tracking URI, the artifacts, the first use of a fresh store.

No mlflow is imported here: stages call these functions before their own work begins, and
mlflow's import belongs to the sender's thread.
"""

import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rolekd import addresses, display, processes
from rolekd.errors import InputError, RolekdError, RunError, reason
from rolekd.secrets import is_secret, redact, remember
from rolekd.track import places, sqlite

# Read by mlflow when it is imported. The retries are few because the spool is our retry.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

_log = logging.getLogger("rolekd.track")

TAG_LIMIT = 5000  # letters of a tag of a run or a version

_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
_REMOTE = ("http:", "https:", "databricks")
_SECONDS_TO_CONNECT = 15.0
_SECONDS_TO_MAKE = 300.0  # about 10 s on an idle machine


def project_root(start: Path | None = None) -> Path:
    """Return the folder of the project that `start` (default: the current folder) lies in.

    It is the nearest folder upwards with a `dvc.yaml` or `params.yaml`; inside a copy that
    `dvc exp run --temp` or `--queue` made (`.dvc/tmp/exps/...`) it is the original checkout,
    since the copy is deleted with everything in it.
    """
    start = (start or Path.cwd()).resolve()
    parts = start.parts
    for place in range(len(parts) - 2):
        if parts[place : place + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:place])
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").exists() or (folder / "params.yaml").exists():
            return folder
    return start


def experiment(dataset: str) -> str:
    """Return the name of the experiment that holds the runs of a data set."""
    return f"rolekd-{dataset}"


def spool_folder(root: Path | None = None) -> Path:
    """Return the folder that holds what MLflow has not taken yet."""
    return (root or project_root()) / ".rolekd" / "spool"


def resolve(uri: str | None = None, root: Path | None = None) -> str:
    """Return the tracking URI: `uri`, else MLFLOW_TRACKING_URI, else `mlflow.db` in the root.

    Raises:
        InputError: the URI has no scheme that MLflow takes (its file store is no more).
    """
    root = root or project_root()
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    remember(uri)
    if uri.partition(":")[0].partition("+")[0] not in _SCHEMES:
        raise InputError(
            f"track.uri: {redact(uri)} is not a tracking URI; write sqlite:///FILE, "
            "postgresql://..., https://HOST or null for mlflow.db in the project"
        )
    return addresses.absolute(uri, root)


def known_as(uri: str, root: Path | None = None) -> str:
    """Return what records call their store: without secrets, and the same where a project moved."""
    file, root = addresses.sqlite_file(uri), root or project_root()
    if file is None:
        return redact(uri)
    return addresses.of_sqlite(file.relative_to(root) if file.is_relative_to(root) else file)


def is_known_as(name: str, uri: str, root: Path | None = None) -> bool:
    """Return whether records that `known_as` gave this name are meant for the store at `uri`."""
    root = root or project_root()
    return known_as(addresses.absolute(name, root), root) == known_as(uri, root)


def artifact_location(uri: str, experiment: str) -> str | None:
    """Return where a new experiment keeps its artifacts; None leaves it to the server."""
    path = addresses.sqlite_file(uri)
    return None if path is None else places.location(path, experiment)


def initialise(uri: str) -> None:
    """See that the store can be used, and an SQLite store names the folder in which it is.

    Raises:
        RunError: as `make` and `places.settle`.
    """
    make(uri)
    path = addresses.sqlite_file(uri)
    for move in places.settle(path) if path is not None else ():
        _log.warning(
            "%s: was in %s; new artifacts go beside it%s",
            path,
            move.old,
            ", and those of before are looked for there" if move.arrived else "",
        )


def make(uri: str) -> None:
    """See that the store can be used; make the tables of an SQLite store that is not there yet.

    Two processes that make them at once corrupt a file for good, and it takes seconds in which a
    process can be killed. So they are made under a lock, elsewhere, and copied at a stroke. A
    file that holds anything is never replaced. A server over HTTP is left to MLflow's own bounds.

    Raises:
        RunError: the store does not answer in time, is damaged or locked, or could not be made.
    """
    path = addresses.sqlite_file(uri)
    if path is None:
        if not uri.startswith(_REMOTE):
            _connect(uri)
        return
    if sqlite.has_tables(path):
        return
    lock = path.with_name(f"{path.name}.lock")
    with processes.exclusive(lock, "MLflow's set-up", wait=_SECONDS_TO_MAKE):
        if sqlite.has_tables(path):
            return
        with tempfile.TemporaryDirectory() as folder:
            fresh = Path(folder) / "mlflow.db"
            _make_tables(fresh, path)
            sqlite.copy_if_empty(path, fresh)


def _make_tables(fresh: Path, path: Path) -> None:
    """Have MLflow make its tables in the file `fresh`; `path` is what they are for."""
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", addresses.of_sqlite(fresh)]
    try:
        made = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS_TO_MAKE
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(
            f"{path}: MLflow did not make its tables in {_SECONDS_TO_MAKE:.0f} s; run again "
            "when the machine is less busy"
        ) from error
    if made.returncode:
        raise RunError(
            f"{path}: MLflow could not make its tables ({reason(made.stderr)}); "
            "check that the folder is writable and the disk has space"
        )


def _connect(uri: str) -> None:
    """Connect once to a database server: MLflow would try ten times, each up to two minutes."""
    import sqlalchemy

    def connect() -> None:
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
        engine.connect().close()

    try:
        processes.within(_SECONDS_TO_CONNECT, connect)
    except Exception as error:  # whatever a driver raises, or that there is none
        told = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        raise RunError(
            f"MLflow at {redact(uri)}: does not answer ({redact(told, uri)}); "
            "check the address and the server, then run again"
        ) from error


def cleaned(values: Mapping[str, object], limit: int) -> dict[str, str]:
    """Return `values` as MLflow takes them: known letters, at most `limit`, no secrets."""
    cleaned = {}
    for key, value in values.items():
        text = "***" if is_secret(key) else redact(str(value))
        name = re.sub(r"[^\w\-. :/]", "_", key)
        cleaned[name] = text if len(text) <= limit else text[: limit - 1] + "…"
    return cleaned


if __name__ == "__main__":  # `make setup`: seconds that no stage has to wait for
    try:
        initialise(resolve())
    except RolekdError as error:
        display.say_error(error)
        sys.exit(error.exit_code)
