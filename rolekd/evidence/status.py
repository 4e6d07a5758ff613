"""How far a study is, and how long the rest will take."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from rolekd import processes
from rolekd.errors import InputError
from rolekd.evidence import design
from rolekd.evidence.design import Study
from rolekd.evidence.records import RECORDS, STUDY_FILE, Records

_LEVEL = 0.05  # of the tests


def planned(study: Study) -> list[str]:
    """Say in lines what a study would do."""
    cells = list(study.cells())
    count = Counter(cell.data for cell in cells)
    lines = [
        f"{name}: {count[name]} cells of {len({c.arm for c in cells if c.data == name})} arms"
        for name in study.data
    ]
    primary = study.primary
    where = ", ".join(primary.data or study.data)
    return [
        f"{study.name}: {study.question}",
        f"primary comparison: {study.label(primary.arm)} against {study.label(primary.against)}, "
        f"on {where}, over {study.seeds} seeds",
        *lines,
        "cells that come to the same are trained once",
        *warnings(study),
    ]


def warnings(study: Study) -> list[str]:
    """Say in lines what a study can never find."""
    if study.least_p < _LEVEL:
        return []
    count = max(len(study.comparisons), 1)
    return [
        f"warning: with {study.seeds} seeds no p of {count} comparisons can be below "
        f"{study.least_p:.2g}, adjusted; take more seeds, or fewer comparisons"
    ]


def of(records: Records) -> dict[str, Any]:
    """Return how far a study is, as JSON-able values.

    Keys: study, folder, finished, data: for each data set name, cells, done, failed, searches, and
    seconds_left, on the cores of this machine; None if nothing of a role is done yet.
    """
    rows = [_of_data(records, name) for name in records.study.data]
    return {
        "study": records.study.name,
        "folder": str(records.folder),
        "finished": not records.missing(),
        "data": rows,
    }


def sentence(found: dict[str, Any]) -> str:
    """Say how far a study is."""
    rows = found["data"]
    cells, done = sum(row["cells"] for row in rows), sum(row["done"] for row in rows)
    failed = sum(row["failed"] for row in rows)
    parts = [f"{done} of {cells} cells done"]
    if failed:
        parts.append(f"{failed} of them failed")
    if done < cells:
        open_rows = [row for row in rows if row["done"] < row["cells"]]
        known = [row for row in open_rows if row["seconds_left"] is not None]
        hours = sum(row["seconds_left"] for row in known) / 3600
        unknown = [row["name"] for row in open_rows if row["seconds_left"] is None]
        # equal cells are trained once, but which are equal is not known yet
        if not known:
            parts.append("time not known")
        elif unknown:
            names = ", ".join(row["name"] for row in known)
            parts.append(f"at most {hours:.1f} h left of {names}")
            parts.append(f"time of {', '.join(unknown)} not known")
        else:
            parts.append(f"at most {hours:.1f} h left")
    return ", ".join(parts)


def all_records(parent: Path = RECORDS) -> Iterable[Records | str]:
    """Yield the records of all studies below a folder; of those that cannot be read, why."""
    for file in sorted(parent.glob(f"*/{STUDY_FILE}")):
        try:
            yield Records(file.parent, design.load(file))
        except InputError as error:
            yield str(error)


def _of_data(records: Records, name: str) -> dict[str, Any]:
    cells = [cell for cell in records.cells if cell.data == name]
    rows = [records.rows[cell] for cell in cells if cell in records.rows]
    return {
        "name": name,
        "cells": len(cells),
        "done": len(rows),
        "failed": sum(bool(row.measured.fault) for row in rows),
        "searches": sum(one.data == name for one in records.searches.values()),
        "seconds_left": _seconds_left(records, name),
    }


def _seconds_left(records: Records, name: str) -> float | None:
    """Return the time for the missing cells, if no two of them share a training.

    Searches are not counted.
    """
    arms = records.study.arms
    seconds: dict[str, list[float]] = {}
    for cell, row in records.rows.items():
        if cell.data == name and row.measured.seconds:
            seconds.setdefault(cell.arm, []).append(row.measured.seconds)
            seconds.setdefault(arms[cell.arm].role, []).append(row.measured.seconds)
    left = 0.0
    for cell in records.missing():
        if cell.data == name:
            known = seconds.get(cell.arm) or seconds.get(arms[cell.arm].role)
            if known is None:
                return None
            left += fmean(known)
    return left / processes.cores()
