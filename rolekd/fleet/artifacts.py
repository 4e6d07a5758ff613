"""Training states and inputs as files in an artifact store: a folder, or S3.

Whatever is fetched is checked against its SHA-256, so that no training starts from a file that a
full disk or a kill cut short.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

import optuna

from rolekd import files
from rolekd.errors import InputError, RunError, one_line
from rolekd.fleet.tasks import Slot
from rolekd.secrets import redact

Errors = tuple[type[Exception], ...]

START_AGAIN = "delete the study (`optuna delete-study`) and run again: the work starts afresh"


class Store(Protocol):
    """The three methods of Optuna's artifact stores."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact."""
        ...

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an artifact."""
        ...

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact."""
        ...


class Artifacts:
    """The artifacts of one job.

    Args:
        store: Where they are kept.
        prefix: Begins every artifact's name; the study's name, so that studies can share a store.
        address: The store's, for messages.
        errors: What the store raises when it fails.
        missing: What it raises if it does not have an artifact.
        folder: The store's, if it is a folder: within a disk, files are moved into it and linked
            out of it instead of copied.
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        address: str,
        errors: Errors,
        missing: type[Exception],
        folder: Path | None = None,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._address = redact(address)
        self._errors = errors
        self._missing = missing
        self._folder = folder

    def put_state(self, slot: Slot, trial: int, path: Path) -> str:
        """Store a task's training state, whose file is given away; return its SHA-256."""
        checksum = files.sha256(path)
        name = _state_name(slot, trial)
        if not (self._folder and _moved(path, self._folder / f"{self._prefix}.{name}")):
            self._put(name, path)
        return checksum

    def get_state(self, slot: Slot, trial: int, checksum: str, path: Path) -> None:
        """Fetch a task's training state as the file `path`, which must not be written to."""
        self._get(_state_name(slot, trial), checksum, path)

    def has_state(self, slot: Slot, trial: int) -> bool:
        """Return whether the training state of a task is there."""
        try:
            self._store.open_reader(f"{self._prefix}.{_state_name(slot, trial)}").close()
        except self._missing:
            return False
        except self._errors as error:
            raise self._failed("reading", error) from error
        return True

    def remove_state(self, slot: Slot, trial: int) -> None:
        """Remove a training state; one that is gone already is not an error."""
        try:
            self._store.remove(f"{self._prefix}.{_state_name(slot, trial)}")
        except self._missing:
            pass
        except self._errors as error:
            raise self._failed("removing", error) from error

    def put_inputs(self, folder: Path, inputs: Mapping[str, str]) -> None:
        """Store the input files (relative path -> SHA-256) of `folder`."""
        for name, checksum in inputs.items():
            path = folder / name
            if not path.is_file() or files.sha256(path) != checksum:
                raise InputError(
                    f"{path}: missing or changed since the search was described; "
                    "run the stage that writes it again"
                )
            self._put(f"input-{checksum}", path)

    def get_inputs(self, inputs: Mapping[str, str], folder: Path) -> None:
        """Fetch the input files into `folder`; they must not be written to."""
        for name, checksum in inputs.items():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise InputError(f"{name}: an input outside its folder; describe the search anew")
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._get(f"input-{checksum}", checksum, path)

    def _put(self, name: str, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._store.write(f"{self._prefix}.{name}", file)
        except self._errors as error:
            raise self._failed("writing", error) from error

    def _get(self, name: str, checksum: str, path: Path) -> None:
        if not (self._folder and _linked(self._folder / f"{self._prefix}.{name}", path)):
            self._copy(name, path)
        if files.sha256(path) != checksum:
            raise RunError(
                f"artifact store {self._address}: {self._prefix}.{name} is damaged; {START_AGAIN}"
            )

    def _copy(self, name: str, path: Path) -> None:
        try:
            with self._store.open_reader(f"{self._prefix}.{name}") as source, path.open("wb") as to:
                shutil.copyfileobj(source, to, 1 << 20)
        except self._missing as error:
            raise RunError(
                f"artifact store {self._address}: {self._prefix}.{name} is missing; name the store "
                f"that the search was started with, or {START_AGAIN}"
            ) from error
        except self._errors as error:
            raise self._failed("reading", error) from error

    def _failed(self, doing: str, error: Exception) -> RunError:
        reason = (isinstance(error, OSError) and error.strerror) or one_line(error)
        return RunError(
            f"artifact store {self._address}: {doing} failed ({redact(reason)}); check its space "
            "and permissions, then run again: the work continues where it was"
        )


def absolute_address(address: str) -> str:
    """Return the address of an artifact store; a folder's with its whole path."""
    return address if address.startswith("s3://") else str(Path(address).absolute())


def open_artifacts(address: str, study: str) -> Artifacts:
    """Open the artifact store at `address`: s3://BUCKET/PREFIX, or a folder, made if need be."""
    missing = optuna.artifacts.exceptions.ArtifactNotFound
    if address.startswith("s3://"):
        import boto3
        from botocore.config import Config

        bucket, _, prefix = address.removeprefix("s3://").partition("/")
        if "@" in bucket:  # the study keeps the address, for all who can read it
            raise InputError(
                f"artifact store {address}: has a user; write s3://BUCKET/PREFIX, and put the keys "
                "into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        # botocore's defaults are five tries of a minute each
        client = boto3.client("s3", config=Config(connect_timeout=10, retries={"max_attempts": 2}))
        store = optuna.artifacts.Boto3ArtifactStore(bucket, client)
        begin = "/".join(filter(None, [prefix.strip("/"), study]))
        return Artifacts(store, begin, address, _s3_errors(), missing)
    folder = Path(address)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"artifact store {address}: cannot be made ({error.strerror}); "
            "name a writable folder or s3://BUCKET/PREFIX"
        ) from error
    files = optuna.artifacts.FileSystemArtifactStore(folder)
    return Artifacts(files, study, address, (OSError,), missing, folder)


def _s3_errors() -> Errors:
    """Return what boto3 raises when S3 fails."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return OSError, Boto3Error, BotoCoreError, ClientError


def _moved(path: Path, target: Path) -> bool:
    """Move a file within a disk; False if it cannot be moved."""
    try:
        path.replace(target)
    except OSError:
        return False
    return True


def _linked(source: Path, path: Path) -> bool:
    """Give a file a second name within a disk; False if it cannot have one."""
    try:
        path.unlink(missing_ok=True)
        os.link(source, path)
    except OSError:
        return False
    return True


def _state_name(slot: Slot, trial: int) -> str:
    # With the trial's number, so that a worker believed dead cannot overwrite its successor's.
    return f"g{slot.generation:04}-m{slot.member:04}-t{trial}"
