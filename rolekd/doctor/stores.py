"""The stores: MLflow's runs and registry, and the studies of the searches."""

from collections.abc import Iterator
from pathlib import Path

from rolekd import addresses
from rolekd.doctor import finding
from rolekd.doctor.finding import Finding
from rolekd.errors import RolekdError, few
from rolekd.secrets import redact
from rolekd.track import places, sqlite


def mlflow_store(uri: str) -> Iterator[Finding]:
    """Open the MLflow store as the stages would, and query it."""
    from rolekd.track.health import count_experiments

    file = addresses.sqlite_file(uri)
    if file is not None and not file.exists():
        yield Finding("MLflow", "note", f"{file} is not there yet", "the first stage creates it")
        return
    count = count_experiments(uri)
    if file is not None:
        sqlite.check(file)
        yield from _places(file)
    yield Finding("MLflow", "ok", f"{redact(uri)} answers, {count} experiments")


def _places(file: Path) -> Iterator[Finding]:
    """Check that the store's artifacts are where it says."""
    for move in places.moves(file):
        yield Finding(
            "artifacts",
            "note",
            f"{file} names {move.old}: the project was moved or copied",
            "the next stage or `make ui` updates it",
        )
    missing = places.missing(file)
    if missing:
        yield Finding(
            "artifacts",
            "fault",
            f"of {few([str(path) for path in missing], 1)}: not here",
            f"copy {places.MLRUNS_FOLDER}/ from the project's old folder",
        )


def searches(storage: str) -> Iterator[Finding]:
    """Open the studies' storage; name those that are unfinished."""
    from rolekd.fleet import studies

    file = addresses.sqlite_file(storage)
    if file is not None and not file.exists():
        yield Finding("Optuna", "note", f"{file} is not there yet", "the first search creates it")
        return
    count, others, unfinished = 0, 0, []
    for study, _ in studies.each_open(storage):
        count += 1
        if study is None:
            others += 1
        elif not study.read().finished:
            unfinished.append(study.name)
    if file is not None:
        sqlite.check(file)
    found = f"{redact(storage)} answers, {count} studies"
    if others:
        found += f", {others} of another version of rolekd"
    if unfinished:
        yield Finding(
            "Optuna",
            "note",
            f"{found}; unfinished: {', '.join(unfinished)}",
            "`rolekd status` shows them; dvc repro continues where they stopped",
        )
    else:
        yield Finding("Optuna", "ok", found)


def spool(folder: Path) -> Iterator[Finding]:
    """Look for records that MLflow does not have."""
    from rolekd.track import spool as spools

    records, waiting, refused, good = 0, 0, [], True
    for path in spools.folders(folder):
        try:
            if spools.is_written(path):
                continue
            count = spools.waiting(path)
        except RolekdError as error:
            good = False
            yield finding.of_error("spool", error)
            continue
        records, waiting = records + count, waiting + (count > 0)
        if (path / "refused.jsonl").exists():
            refused.append(path)
    if records:
        found = f"{records} records of {waiting} runs wait in {folder}"
        yield Finding(
            "spool", "note", found, "the next stage with this store sends them, or rolekd sync does"
        )
    if refused:
        found = f"MLflow refused records of {len(refused)} runs"
        yield Finding("spool", "note", found, f"read {refused[0]}/refused.jsonl, then remove it")
    if good and not records and not refused:
        yield Finding("spool", "ok", "no records wait")
