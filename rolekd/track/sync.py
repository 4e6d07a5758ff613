"""Sending later the records that MLflow did not accept during the runs."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rolekd.errors import RunError
from rolekd.secrets import redact
from rolekd.track import spool, store
from rolekd.track.delivery import Delivery, RunRefused, StoreRefuses, StoreUnreachable
from rolekd.track.events import Event
from rolekd.track.health import count_experiments

_RECORDS_AT_ONCE = 500  # between two looks at the clock


@dataclass(frozen=True)
class SpoolOutcome:
    """What became of one spool folder.

    Attributes:
        run: name of the run, the folder's where no record tells it.
        run_id: its id in MLflow; None where MLflow does not have it, or it continues.
        records: how many were sent now.
        refused: how many MLflow refused, now or before; they stay in the folder.
        running: its process is alive and sends by itself.
        folder: the spool.
        problem: why records stay in the folder, with the remedy; None where none do.
    """

    run: str
    run_id: str | None
    records: int
    refused: int
    running: bool
    folder: Path
    problem: str | None = None

    def describe(self) -> str:
        """Return one line for people."""
        if self.running:
            return f"{self.run}: still running, sends by itself"
        if self.problem:
            return f"{self.run}: {self.records} records sent; {self.problem}"
        line = f"{self.run}: {self.records} records sent, MLflow run {self.run_id}"
        if self.refused:
            line += f"; MLflow refused {self.refused}, see {self.folder}/refused.jsonl"
        return line

    def to_json(self) -> dict[str, object]:
        """Return the values as a JSON object."""
        return {**asdict(self), "folder": str(self.folder)}


def sync(
    folder: Path, uri: str, *, seconds: float | None = None, meant: bool = False
) -> list[SpoolOutcome]:
    """Send every spool below `folder` to the store at `uri`; what was sent whole is removed.

    Runs whose process died are ended as KILLED. What cannot be sent stays as it is, is told as a
    problem, and keeps no other from being sent. It may be called at any time and again.

    Args:
        folder: of the spools.
        uri: MLflow tracking URI.
        seconds: after which it stops between two sendings; None: never.
        meant: leave alone what was recorded for another store.

    Raises:
        StoreUnreachable: the store does not answer; nothing is lost.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    chosen = spool.folders(folder)
    if meant:
        chosen = [one for one in chosen if store.is_known_as(str(_first(one).get("store")), uri)]
    return list(_outcomes(chosen, uri, deadline))


def _outcomes(folders: list[Path], uri: str, deadline: float | None) -> Iterator[SpoolOutcome]:
    for one in folders:
        try:
            with spool.adopted(one) as ours:
                yield _send(one, uri, deadline) if ours else _outcome(one, running=True)
        except spool.GoneError:
            continue
        except StoreUnreachable as error:
            if not _answers(uri):
                raise StoreUnreachable(
                    f"MLflow at {redact(uri)} does not answer ({error}); nothing is lost: see to "
                    "the store, then run `rolekd sync` again"
                ) from error
            yield _outcome(one, problem=f"MLflow failed at its records ({error}); run again")
        except (spool.DamagedSpoolError, RunRefused, StoreRefuses) as error:
            yield _outcome(one, problem=str(error))
        except (OSError, RunError) as error:
            yield _outcome(one, problem=f"{one}: cannot be sent ({error}); check that folder")
        if _is_over(deadline):
            return


def _send(folder: Path, uri: str, deadline: float | None) -> SpoolOutcome:
    """Send the spool, which this process has adopted."""
    spool.end_abandoned(folder)
    delivery = Delivery(folder, uri, resumed=True)
    first, records = _first(folder), 0
    while sent := delivery.drain(_RECORDS_AT_ONCE):
        records += sent
        if _is_over(deadline):
            break
    refused, left = delivery.refused(), delivery.rest()
    if not refused and not left:
        spool.discard(folder)
    return SpoolOutcome(
        run=str(first.get("name", folder.name)),
        run_id=delivery.progress.runs.get(str(first.get("run"))),
        records=records,
        refused=refused,
        running=False,
        folder=folder,
        problem=f"{left} wait for the next time" if left else None,
    )


def _outcome(folder: Path, *, running: bool = False, problem: str | None = None) -> SpoolOutcome:
    return SpoolOutcome(_name(folder), None, 0, 0, running, folder, problem)


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() > deadline


def _name(folder: Path) -> str:
    return str(_first(folder).get("name", folder.name))


def _first(folder: Path) -> Event:
    """Return the record that starts the spool's own run, empty where there is none to be read."""
    try:
        first, _ = spool.read(folder, 0, limit=2)
    except (OSError, RunError, spool.DamagedSpoolError):
        return {}
    return next((event for event in first if not event.get("shared")), {})


def _answers(uri: str) -> bool:
    try:
        count_experiments(uri)
    except Exception:  # whatever it is, it is the store's
        return False
    return True
