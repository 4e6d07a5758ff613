"""Promotion and rollback: which version is the champion, why, and since when."""

import contextlib
import json
import logging
import math
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rolekd.errors import InputError, RunError
from rolekd.params import PromoteParams
from rolekd.registry import versions
from rolekd.registry.assessment import assess
from rolekd.registry.gates import Gate
from rolekd.track import provenance
from rolekd.track.client import reachable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_LOCK_TAG = "promotion.lock"
_LOCK_SECONDS = 60.0  # held for longer than this, its holder is dead
_LOOK_SECONDS = 1.0
_SETTLE_SECONDS = 0.5  # longer than a request, so that two lockers see each other

_log = logging.getLogger("rolekd.track")


@dataclass(frozen=True)
class Decision:
    """The outcome of a promotion.

    Attributes:
        name: registered name.
        version: the candidate.
        previous: the champion before; None: there was none.
        gates: the questions and verdicts.
        moved: whether the alias now points to the candidate.
    """

    name: str
    version: int
    previous: int | None
    gates: list[Gate]
    moved: bool

    @property
    def refused(self) -> list[Gate]:
        """The gates that the candidate did not pass."""
        return [gate for gate in self.gates if gate.verdict == "refused"]


def promote(
    name: str,
    limits: PromoteParams,
    *,
    uri: str,
    data: Path,
    version: int | None = None,
    why: str = "",
    dry_run: bool = False,
) -> Decision:
    """Judge a version and, if it passes every gate, make it the champion.

    Args:
        name: registered name.
        limits: of the gates.
        uri: MLflow tracking URI.
        data: prepared data, to test an older champion on new data.
        version: the candidate; None: the one with the alias challenger.
        why: recorded on the version.
        dry_run: judge only.

    Raises:
        InputError: the version does not exist, is already champion, or its evidence is incomplete.
        RunError: another promotion is running or was faster, or MLflow does not answer.
    """
    with reachable(uri):
        client = _client(uri)
        candidate = _candidate(client, name, version)
        champion = _champion(client, name)
        if champion is not None and champion.version == candidate.version:
            raise InputError(f"promote: version {candidate.version} is already the champion")
        gates = assess(name, int(candidate.version), _number(champion), limits, uri, data)
        decision = Decision(name, int(candidate.version), _number(champion), gates, moved=False)
        if dry_run or decision.refused:
            return decision
        with _locked(client, name) as confirm:
            now = _number(_champion(client, name))
            if now != decision.previous:
                raise RunError(
                    f"promote: the champion became version {now} while version "
                    f"{decision.version} was judged; promote again to be judged against it"
                )
            record: dict[str, object] = {"from": decision.previous or "none", "why": why}
            record["gates"] = json.dumps([asdict(gate) for gate in gates], ensure_ascii=False)
            confirm()
            _move(client, name, decision.version, "promotion", record)
    return replace(decision, moved=True)


def rollback(name: str, *, uri: str, why: str = "") -> tuple[int, int]:
    """Make the previous champion the champion again; return (from, to).

    Raises:
        InputError: there is no champion, or none before it.
    """
    with reachable(uri):
        client = _client(uri)
        _replaceable(client, name)  # before the lock, which needs a registered model
        with _locked(client, name) as confirm:
            champion = _replaceable(client, name)
            previous = champion.tags.get("promotion.from", "none")
            if previous == "none":
                raise InputError(
                    f"rollback: version {champion.version} is the first champion of {name}; "
                    "promote another version instead"
                )
            confirm()
            left = int(champion.version)
            for key, value in {"to": previous, "why": why, **_who()}.items():
                client.set_model_version_tag(name, str(left), f"rollback.{key}", str(value))
            client.set_registered_model_alias(name, versions.CHAMPION, previous)
    return left, int(previous)


def _candidate(client: "MlflowClient", name: str, version: int | None) -> "ModelVersion":
    found = versions.find_version(client, name, str(version or f"@{versions.CHALLENGER}"))
    if found is None and version is not None:
        raise InputError(f"promote: {name} has no version {version}; {versions.HOW_TO_LIST}")
    if found is None:
        raise InputError(f"promote: {name} has no challenger; run `dvc repro`, or give --version")
    return found


def _champion(client: "MlflowClient", name: str) -> "ModelVersion | None":
    return versions.find_version(client, name, f"@{versions.CHAMPION}")


def _replaceable(client: "MlflowClient", name: str) -> "ModelVersion":
    """Return the champion, which a rollback needs."""
    found = _champion(client, name)
    if found is None:
        raise InputError(f"rollback: {name} has no champion; promote a version first")
    return found


def _number(version: "ModelVersion | None") -> int | None:
    return None if version is None else int(version.version)


def _move(
    client: "MlflowClient", name: str, version: int, kind: str, record: dict[str, object]
) -> None:
    """Write the record first, so that every moved alias is explained."""
    for key, value in {**record, **_who()}.items():
        client.set_model_version_tag(name, str(version), f"{kind}.{key}", str(value))
    client.set_registered_model_alias(name, versions.CHAMPION, str(version))


def _who() -> dict[str, object]:
    return {
        "by": f"{provenance.user()}@{socket.gethostname()}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@contextlib.contextmanager
def _locked(client: "MlflowClient", name: str) -> Iterator[Callable[[], None]]:
    """Hold the registered model's lock, a tag: the registry has no compare-and-set.

    A process that finds another's fresh token, before or after writing its own, gives way. The
    block gets a function to call before it changes anything: it refuses if another process, delayed
    between its check and its write for longer than anybody waits, took over the lock.
    """
    from mlflow.exceptions import MlflowException

    def held() -> str | None:
        tags: dict[str, str] = client.get_registered_model(name).tags
        return tags.get(_LOCK_TAG)

    def confirm() -> None:
        if held() != token:
            raise _busy(name)

    if _is_kept(held):
        raise _busy(name)
    token = f"{uuid.uuid4().hex} {time.time():.0f}"
    try:
        client.set_registered_model_tag(name, _LOCK_TAG, token)
    except MlflowException as error:
        if held() is None:
            raise
        raise _busy(name) from error  # two first writers at once: the database takes one
    time.sleep(_SETTLE_SECONDS)
    confirm()
    try:
        yield confirm
    finally:
        if held() == token:
            client.delete_registered_model_tag(name, _LOCK_TAG)


def _is_kept(held: Callable[[], str | None]) -> bool:
    """Return whether a living process holds the lock; `held` reads the token.

    A token's age compares our clock with another machine's. If that is not possible, since it
    is in the future or cannot be read, the token is watched. If it does not change for longer than
    anybody holds the lock, its process is dead.
    """
    token = held()
    if token is None:
        return False
    age = _age(token)
    if age is not None and age > -_LOCK_SECONDS:
        return age < _LOCK_SECONDS
    _log.warning(
        "the registry's lock %r has no usable age; watched for %.0f s", token, _LOCK_SECONDS
    )
    deadline = time.monotonic() + _LOCK_SECONDS
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        if held() != token:
            return held() is not None
    return False


def _age(token: str) -> float | None:
    """Return the seconds since a token was made, None if it does not say."""
    try:
        _, made = token.split()
        age = time.time() - float(made)
    except ValueError:
        return None
    return age if math.isfinite(age) else None


def _busy(name: str) -> RunError:
    return RunError(
        f"{name}: another promotion or rollback is running; check its result, then run again"
    )


def _client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(uri)
