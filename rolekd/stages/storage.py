"""Where the fleet's work is kept: where the environment says, else in the project."""

import os
import shutil
from pathlib import Path

from rolekd import addresses
from rolekd.fleet.runner import Storage
from rolekd.track import store

# set by the user, or by the options of `rolekd search`
DATABASE, ARTIFACTS = "ROLEKD_STORAGE", "ROLEKD_ARTIFACTS"


def of_project(name: str) -> Storage:
    """Return the storage of the job `name`; the project's, if the environment names none."""
    database = addresses.of_sqlite(_home() / "optuna.db")
    return Storage(
        os.environ.get(DATABASE, database), os.environ.get(ARTIFACTS, str(_artifacts(name)))
    )


def is_shared() -> bool:
    """Return whether workers elsewhere reach the storage."""
    return bool(os.environ.get(DATABASE))


def forget(name: str) -> None:
    """Remove what the project's own store still has of a finished job."""
    shutil.rmtree(_artifacts(name), ignore_errors=True)


def _artifacts(name: str) -> Path:
    return _home() / "artifacts" / name


def _home() -> Path:
    return store.project_root() / ".rolekd"
