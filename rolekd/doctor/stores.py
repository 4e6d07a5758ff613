"""The stores: MLflow's runs and registry, and the studies of the searches."""

from collections.abc import Iterator
from pathlib import Path

from rolekd.doctor.finding import Finding
from rolekd.secrets import redact
from rolekd.track import store


def runs(uri: str) -> Iterator[Finding]:
    """Open the MLflow store as the stages would, and ask it something."""
    from rolekd.track.health import experiments

    file = store.sqlite_path(uri)
    if file is not None and not file.exists():
        yield Finding("MLflow", "note", f"{file} is not there yet", "the first stage makes it")
        return
    count = experiments(uri)
    yield Finding("MLflow", "ok", f"{redact(uri)} answers, {count} experiments")


def searches(storage: str) -> Iterator[Finding]:
    """Open the studies' storage; name the searches that are unfinished."""
    from rolekd.search import study

    file = store.sqlite_path(storage)
    if file is not None and not file.exists():
        yield Finding("Optuna", "note", f"{file} is not there yet", "the first search makes it")
        return
    names = study.searches(storage)
    unfinished = []
    for name in names:
        ledger = study.Ledger.open(storage, name)
        if not ledger.read().finished:
            unfinished.append(name)
        ledger.close()
    found = f"{redact(storage)} answers, {len(names)} searches"
    if unfinished:
        yield Finding(
            "Optuna",
            "note",
            f"{found}; unfinished: {', '.join(unfinished)}",
            "`rolekd status` shows them; dvc repro goes on where they stopped",
        )
    else:
        yield Finding("Optuna", "ok", found)


def spool(folder: Path) -> Iterator[Finding]:
    """Look for records that MLflow has not taken."""
    from rolekd.track.spool import is_written, waiting

    spools = [path for path in sorted(folder.glob("*/")) if not is_written(path)]
    records = sum(map(waiting, spools))
    refused = [path for path in spools if (path / "refused.jsonl").exists()]
    if records:
        found = f"{records} records of {len(spools)} runs wait in {folder}"
        yield Finding("spool", "fault", found, "rolekd sync")
    elif refused:
        found = f"MLflow refused records of {len(refused)} runs"
        yield Finding("spool", "note", found, f"read {refused[0]}/refused.jsonl, then remove it")
    else:
        yield Finding("spool", "ok", "nothing waits to be sent")
