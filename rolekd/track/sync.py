"""Sending later what MLflow did not take while the runs went on."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from rolekd.secrets import redact
from rolekd.track.delivery import Delivery, StoreUnreachable
from rolekd.track.spool import adopted, end_abandoned, read


@dataclass(frozen=True)
class Outcome:
    """What became of one spool folder.

    Attributes:
        run: name of the run.
        run_id: its id in MLflow; None while it goes on.
        records: how many were sent now.
        refused: how many MLflow refused, now or before; they stay in the folder.
        running: its process is alive and sends by itself.
        folder: the spool.
    """

    run: str
    run_id: str | None
    records: int
    refused: int
    running: bool
    folder: Path

    def describe(self) -> str:
        """Return one line for people."""
        if self.running:
            return f"{self.run}: still running, sends by itself"
        line = f"{self.run}: {self.records} records sent, MLflow run {self.run_id}"
        if self.refused:
            line += f"; MLflow refused {self.refused}, see {self.folder}/refused.jsonl"
        return line

    def to_json(self) -> dict[str, object]:
        """Return the values as a JSON object."""
        return {**asdict(self), "folder": str(self.folder)}


def sync(folder: Path, uri: str) -> list[Outcome]:
    """Send every spool below `folder` to the store at `uri`; what was sent whole is removed.

    Runs whose process died are ended as KILLED. It may be called at any time and again.

    Raises:
        StoreUnreachable: the store does not answer; nothing is lost.
    """
    return [
        _sync_one(spool, uri) for spool in sorted(folder.glob("*/")) if (spool / "lock").exists()
    ]


def _sync_one(folder: Path, uri: str) -> Outcome:
    with adopted(folder) as ours:
        if not ours:
            return Outcome(_name(folder), None, 0, 0, True, folder)
        end_abandoned(folder)
        delivery = Delivery(folder, uri, resumed=True)
        name, waiting = _name(folder), delivery.rest()
        try:
            delivery.drain()
        except StoreUnreachable as error:
            raise StoreUnreachable(
                f"MLflow at {redact(uri)} does not answer ({error}); nothing is lost, "
                "start it and run `rolekd sync` again"
            ) from error
        refused = delivery.refused()
        if not refused:
            shutil.rmtree(folder)
        run_id = delivery.progress.runs.get(folder.name)
        return Outcome(name, run_id, waiting, refused, False, folder)


def _name(folder: Path) -> str:
    events, _ = read(folder, 0)
    return str(events[0]["name"]) if events else folder.name
