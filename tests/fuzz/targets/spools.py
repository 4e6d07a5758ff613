"""Spools: `rolekd sync` on a damaged one beside a whole one; a store in memory takes them."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fuzz import mutations
from fuzz.harness import Case, Refused, Special
from rolekd.track import delivery, sync

BAD, GOOD = "a-bad", "b-good"
EVENTS, SENT, LOCK = "events.jsonl", "sent.json", "lock"


def _events(key: str) -> list[dict[str, Any]]:
    def event(kind: str, run: str, time: int, **content: Any) -> dict[str, Any]:
        return {"event": kind, "run": run, "time": time, **content}

    child = f"{key}.1"
    tags = {"stage": "distill"}
    start = {"experiment": "rolekd-digits", "tags": tags}
    profile = {"name": "digits", "digest": "d", "context": "train", "source": "data", "profile": {}}
    return [
        event("start", key, 1, name="distill@kd", parent=None, **start),
        event("params", key, 2, params={"seed": "0", "student.bits": "2"}),
        event("dataset", key, 2, **profile),
        event("start", child, 3, name="kd seed 0", parent=key, **start),
        event("metrics", child, 4, metrics={"loss": 0.5, "accuracy": 0.25}, step=0),
        event("metrics", child, 5, metrics={"loss": 0.25, "accuracy": 0.5}, step=1),
        event("artifact", key, 6, path="artifacts/1/arms.json", target=""),
        event("end", child, 7, status="FINISHED"),
        event("tags", key, 8, tags={"arm": "kd"}),
    ]


def _spool(key: str) -> dict[str, bytes | Special]:
    lines = [json.dumps(event).encode() + b"\n" for event in _events(key)]
    return {
        f"{key}/{EVENTS}": b"".join(lines),
        f"{key}/{LOCK}": b"",
        f"{key}/artifacts/1/arms.json": b"{}",
    }


class _Store:
    """What the delivery asks of MLflow's client; it keeps the metrics that it is sent."""

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}  # key -> id
        self.metrics: Counter[tuple[str, str, float, int]] = Counter()
        self.calls: list[str] = []

    def get_experiment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(experiment_id=f"experiment {name}", lifecycle_stage="active")

    def search_runs(self, _: list[str], query: str, **__: Any) -> list[Any]:
        found = [run for key, run in self.runs.items() if f"'{key}'" in query]
        return [SimpleNamespace(info=SimpleNamespace(run_id=run)) for run in found]

    def create_run(self, _: str, __: int, tags: dict[str, str], **___: Any) -> SimpleNamespace:
        key = tags["rolekd.key"]
        self.runs[key] = f"id of {key}"
        return SimpleNamespace(info=SimpleNamespace(run_id=self.runs[key]))

    def get_run(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(info=SimpleNamespace(end_time=None))

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        self.calls.append(f"{run_id} {[(p.key, p.value) for p in (*params, *tags)]}")
        for one in metrics:
            self.metrics[run_id, one.key, float(one.value), int(one.step)] = 1

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.calls.append(f"{name} {args!r:.200}")


class Target:
    """A spool of a killed run, damaged in its records, its counts and its files."""

    origin = BAD

    def __init__(self) -> None:
        import mlflow.entities  # noqa: F401  # seconds, once

        size = len(_spool(BAD)[f"{BAD}/{EVENTS}"])  # type: ignore[arg-type]
        ids = {BAD: f"id of {BAD}", f"{BAD}.1": f"id of {BAD}.1"}
        counts: dict[str, object] = {
            "beyond the end": {"offset": size + 1, "runs": ids},
            "far beyond the end": {"offset": 10**30, "runs": ids},
            "before the beginning": {"offset": -1, "runs": {}},
            "within a record": {"offset": 30, "runs": ids},
            "all, of no run": {"offset": size, "runs": {}},
            "a text": {"offset": "1", "runs": {}},
            "a list": [],
            "more": {"offset": 0, "runs": {}, "more": 1},
        }
        self.named: Mapping[str, Case] = {
            **{
                name: self._with(SENT, json.dumps(value).encode()) for name, value in counts.items()
            },
            "no lock": {k: v for k, v in _spool(BAD).items() if not k.endswith(LOCK)},
            "no records": {k: v for k, v in _spool(BAD).items() if not k.endswith(EVENTS)},
            "nothing but a lock": {f"{BAD}/{LOCK}": b""},
            "a broken count": self._with(SENT, b'{"offset": '),
            "a count of zeros": self._with(SENT, bytes(30)),
            "records of zeros": self._with(EVENTS, bytes(300)),
            "a record of a list": self._with(EVENTS, b"[1]\n"),
            "nested": self._with(EVENTS, b"[" * 100_000 + b"\n"),
            "an artifact elsewhere": self._changed(6, path="/etc/passwd"),
            "an artifact above": self._changed(6, path="../../x"),
            "a key with a quote": self._changed(0, run="a' or 'b"),
            "a foreign status": self._changed(7, status="\x1b[31m"),
            "an endless artifact": self._with("artifacts/1/arms.json", Special("/dev/zero")),
            "a FIFO of records": self._with(EVENTS, Special()),
            "endless records": self._with(EVENTS, Special("/dev/zero")),
            "a FIFO of counts": self._with(SENT, Special()),
            "a FIFO for a lock": self._with(LOCK, Special()),
            "a folder for records": {f"{BAD}/{EVENTS}/x": b"", f"{BAD}/{LOCK}": b""},
            "a file for a spool": {BAD: b""},
        }

    def _with(self, name: str, content: bytes | Special) -> Case:
        return {**_spool(BAD), f"{BAD}/{name}": content}

    def _changed(self, index: int, **changes: object) -> Case:
        events = _events(BAD)
        events[index] |= changes
        return self._with(EVENTS, "".join(json.dumps(event) + "\n" for event in events).encode())

    def case(self, chance: random.Random) -> Case:
        """Return a spool, damaged."""
        kind = chance.random()
        events = _events(BAD)
        ids = {BAD: f"id of {BAD}", f"{BAD}.1": f"id of {BAD}.1"}
        lines = [json.dumps(event) + "\n" for event in events]
        offset = sum(map(len, lines[: chance.randrange(len(lines) + 1)]))
        progress = {"offset": offset, "runs": ids}
        if kind < 0.3:
            index = chance.randrange(len(events))
            lines[index] = json.dumps(mutations.in_value(events[index], chance)) + "\n"
            return self._with(EVENTS, "".join(lines).encode())
        if kind < 0.6:
            return self._with(EVENTS, mutations.in_bytes("".join(lines).encode(), chance))
        if kind < 0.8:
            return self._with(SENT, json.dumps(mutations.in_value(progress, chance)).encode())
        return self._with(SENT, mutations.in_bytes(json.dumps(progress).encode(), chance))

    def read(self, folder: Path) -> str:
        """Send both; nothing is removed that was not sent, and the whole one always is."""
        for name, content in _spool(GOOD).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)  # type: ignore[arg-type]
        store = _Store()
        delivery.Delivery._connect = lambda _: store  # type: ignore[assignment,method-assign]
        sync.experiments = lambda _: 0  # type: ignore[attr-defined]
        wanted, sent = _unsent(folder / BAD), len(_events(GOOD)) + 1
        outcomes, problem = [], None
        try:
            outcomes = sync.sync(folder, "sqlite:///memory")
        finally:
            assert not (folder / GOOD).exists(), "the whole spool was not sent"
        good = [one for one in outcomes if one.folder.name == GOOD]
        assert [one.records for one in good] == [sent], "not all of the whole spool was sent"
        kept = (folder / BAD).exists()
        assert kept or wanted is not None, "removed, though its counts cannot be"
        assert kept or not wanted - set(store.metrics), "removed, and not all of it was sent"
        problem = next((getattr(one, "problem", None) for one in outcomes[:-1]), None)
        if problem:
            raise Refused(problem)
        left = sorted(path.name for path in folder.iterdir())
        shutil.rmtree(folder / BAD, ignore_errors=True)
        return f"{left} {sorted(store.metrics)} {store.calls}"


def _unsent(folder: Path) -> set[tuple[str, str, float, int]] | None:
    """Return the numbers that a spool still has to send; None where its counts cannot be."""
    try:
        content = (folder / EVENTS).read_bytes() if (folder / EVENTS).is_file() else b""
        counts = folder / SENT
        offset = json.loads(counts.read_bytes())["offset"] if counts.is_file() else 0
        if offset > len(content) or (offset and content[offset - 1 : offset] != b"\n"):
            return None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    found = set()
    for line in content[offset:].splitlines(keepends=True):
        try:
            event = json.loads(line)
            found |= {
                (f"id of {event['run']}", name, float(value), int(event["step"]))
                for name, value in event["metrics"].items()
            }
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            continue
    return found
