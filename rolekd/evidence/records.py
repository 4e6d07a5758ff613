"""The records of a study: a folder of small text files, committed as they come.

`study.yaml` is the study as it began, `settings.json` the parameters and the data that it had then.
`cells.csv` has a row for each cell that is done and names its training, `trainings.csv` what was
measured of each training, `right.csv` which test images it gets right, `searches.csv` what searches
found; their schedules are in `schedules/`. Nothing on record is done again, on whatever machine the
study continues.
"""

import base64
import csv
import datetime
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rolekd import files
from rolekd.augment import schedule as schedules
from rolekd.augment.schedule import Schedule
from rolekd.errors import InputError, few
from rolekd.evidence import design
from rolekd.evidence.design import Cell, Study
from rolekd.evidence.trainings import Measured, TrainingSpec
from rolekd.fleet.jobs import changed_keys
from rolekd.search.history import Found

RECORDS = Path("results", "records")
STUDY_FILE, SETTINGS_FILE = "study.yaml", "settings.json"
CELLS, TRAININGS, RIGHT, SEARCHES = "cells.csv", "trainings.csv", "right.csv", "searches.csv"
_SCHEDULES = "schedules"

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class CellRow:
    """A cell that is done.

    Attributes:
        cell: The cell.
        training: Key of its training, which cells may share. Empty: it cannot be trained.
        measured: What was measured; its `right` is in a separate file.
        provenance: Digests and versions, by name.
    """

    cell: Cell
    training: str
    measured: Measured
    provenance: Mapping[str, str]


@dataclass(frozen=True)
class Searched:
    """A search that is done.

    Attributes:
        key: Of everything that decides it.
        data, role: What was searched for.
        teacher: What augmented the teacher, if the role is student.
        number: Of the search.
        arm: The first that asked for it.
        winner, best, measure, gain, error, trainings: How its final ended.
        seconds: Of wall time.
        fault: Why it found nothing; empty: it did.
    """

    key: str
    data: str
    role: str
    teacher: str
    number: int
    arm: str = ""
    winner: str = ""
    best: str = ""
    measure: str = ""
    gain: float = 0.0
    error: float = 0.0
    trainings: int = 0
    seconds: float = 0.0
    fault: str = ""

    def failed(self, reason: str) -> "Searched":
        """Return the row of a search that found nothing."""
        return replace(self, fault=reason)

    def found(self, found: Found, seconds: float) -> "Searched":
        """Return the row of a search that is done."""
        if found.verdict is None:
            return replace(self, winner="schedule", seconds=round(seconds, 1))
        winner, best = found.verdict.winner, found.verdict.best
        return replace(
            self,
            winner=winner.name,
            best=best.name,
            measure=best.measure,
            gain=round(best.gain, 6),
            error=round(best.error, 6),
            trainings=sum(len(one.accuracies) for one in found.verdict.standings),
            seconds=round(seconds, 1),
        )


class Records:
    """The records of one study in a folder.

    Args:
        folder: Where they are.
        study: The study that is recorded.
    """

    def __init__(self, folder: Path, study: Study) -> None:
        self.folder = folder
        self.study = study
        self._right = _read_right(folder / RIGHT)
        self._trained = {
            key: (measured, provenance)
            for key, measured, provenance in _read_rows(folder / TRAININGS, "training", _training)
            if measured.fault or key in self._right
        }
        self.rows: dict[Cell, CellRow] = {}
        for cell, key, fault in _read_rows(folder / CELLS, "cell", _cell):
            if not key:
                self.rows[cell] = CellRow(cell, "", Measured(fault=fault), {})
            elif key in self._trained:
                self.rows[cell] = CellRow(cell, key, *self._trained[key])
        self.searches = {one.key: one for one in _read_rows(folder / SEARCHES, "search", _searched)}

    @classmethod
    def open(cls, file: Path, parent: Path = RECORDS) -> "Records":
        """Open the records of a study file, or begin them.

        Raises:
            InputError: The file is not a study, or not the one that began.
        """
        study = design.load(file)
        folder = find(study.name, parent)
        if folder is None:
            today = datetime.datetime.now(tz=datetime.UTC).date()
            folder = parent / f"{today.isoformat()}-{study.name.replace('/', '-')}"
            with files.replacing_folder(folder) as temporary:
                shutil.copy(file, temporary / STUDY_FILE)
        kept = folder / STUDY_FILE
        if kept.resolve() != file.resolve():
            began = design.load(kept).model_dump(mode="json")
            if found := changed_keys(began, study.model_dump(mode="json")):
                changed = [_since(line) for line in found]
                raise InputError(
                    f"{file}: is not the study that began ({few(changed, 3, '; ')}); take "
                    f"{kept}, or give this one another name"
                )
        return cls(folder, study)

    def settle(self, data: str, params: Mapping[str, Any], digest: str) -> None:
        """Record the settings of a data set's cells; refuse any that differ from when they began.

        A preset or the raw data may have changed since: rows of both would be mixed.

        Raises:
            InputError: Something differs; it is named.
        """
        path = self.folder / SETTINGS_FILE
        kept: dict[str, Any] = files.read_json(path) if path.exists() else {}
        ours = {"data": digest, "params": params}
        if data not in kept:
            files.write_json(path, {**kept, data: ours})
            return
        # a key that a newer version added has its default, which is what the older version did
        found = [
            line
            for line in changed_keys(kept[data], ours)
            if not line.partition(": ")[2].startswith("absent")
        ]
        if found:
            changed = few([_since(line) for line in found], 3, "; ")
            raise InputError(
                f"{self.folder}: {data} is not what the study began with ({changed}); name the "
                "former values in its params, or give the study another name"
            )

    def add(
        self,
        cells: Iterable[Cell],
        training: TrainingSpec,
        measured: Measured,
        provenance: Mapping[str, str],
    ) -> None:
        """Record the cells of a training.

        A training on record stays as it is: on another machine its sums differ, and all its cells
        are one network.
        """
        if training.key not in self._trained:
            own = {"data": training.data[:12], "schedule": training.schedule, **provenance}
            self._trained[training.key] = replace(measured, right=""), own
            if not measured.fault:
                self._right[training.key] = measured.right, measured.images
            self._write_trainings()
        self.share(cells, training.key)

    def share(self, cells: Iterable[Cell], training: str) -> bool:
        """Record cells whose training is on record; False: it is not."""
        if training not in self._trained:
            return False
        for cell in cells:
            self.rows[cell] = CellRow(cell, training, *self._trained[training])
        self._write_cells()
        return True

    def add_fault(self, cell: Cell, reason: str) -> None:
        """Record a cell that cannot be trained."""
        self.rows[cell] = CellRow(cell, "", Measured(fault=reason), {})
        self._write_cells()

    def add_search(self, found: Searched, schedule: Schedule | None) -> None:
        """Record a search, and the schedule that it found."""
        if schedule is not None:
            schedule.save(self.schedule_file(found.key))
        self.searches[found.key] = found
        files.write_csv(self.folder / SEARCHES, [asdict(one) for one in self.searches.values()])

    def schedule_file(self, key: str) -> Path:
        """Return the file of a search's schedule."""
        folder = self.folder / _SCHEDULES
        folder.mkdir(exist_ok=True)
        return folder / f"{key}.json"

    def schedule(self, key: str) -> Schedule:
        """Return what a search found."""
        return schedules.load(self.schedule_file(key))

    def forget_faults(self) -> int:
        """Drop the rows of cells that failed, so that they are tried again; return their number."""
        failed = [cell for cell, row in self.rows.items() if row.measured.fault]
        for cell in failed:
            self._trained.pop(self.rows.pop(cell).training, None)
        self.searches = {key: one for key, one in self.searches.items() if not one.fault}
        return len(failed)

    def right(self, training: str) -> NDArray[np.bool_]:
        """Return which test images a training gets right, [images]."""
        packed, images = self._right[training]
        bits = np.frombuffer(base64.b64decode(packed), np.uint8)
        return np.unpackbits(bits, count=images).astype(bool)

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells of the study."""
        return list(self.study.cells())

    def missing(self) -> list[Cell]:
        """Return the cells that are not done."""
        return [cell for cell in self.cells if cell not in self.rows]

    def _write_trainings(self) -> None:
        # each file before those that need it: a kill in between leaves no row without what it names
        files.write_csv(
            self.folder / RIGHT,
            [
                {"training": key, "images": images, "right": right}
                for key, (right, images) in sorted(self._right.items())
            ],
        )
        rows = [_flat_training(key, *found) for key, found in sorted(self._trained.items())]
        files.write_csv(self.folder / TRAININGS, rows)

    def _write_cells(self) -> None:
        rows = [_flat_cell(self.rows[cell]) for cell in self.cells if cell in self.rows]
        files.write_csv(self.folder / CELLS, rows)


def _since(line: str) -> str:
    """Return a difference between two places as one between then and now."""
    return line.replace(" there, ", " when it began, ").removesuffix(" here") + " now"


def find(name: str, parent: Path = RECORDS) -> Path | None:
    """Return the latest folder of records of a study; None: it has not begun."""
    pattern = f"[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]-{name.replace('/', '-')}"
    found = [path for path in sorted(parent.glob(pattern)) if (path / STUDY_FILE).is_file()]
    return found[-1] if found else None


_NUMBERS = ("accuracy", "train_accuracy", "calibration_error", "seconds")
_PROVENANCE = ("data", "schedule", "params", "code")


def _flat_cell(row: CellRow) -> dict[str, Any]:
    return {
        "data set": row.cell.data,
        "arm": row.cell.arm,
        "search": "" if row.cell.search is None else row.cell.search,
        "seed": row.cell.seed,
        "training": row.training,
        "fault": "" if row.training else row.measured.fault,
    }


def _flat_training(key: str, measured: Measured, provenance: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {"training": key}
    values |= {name: round(float(getattr(measured, name)), 6) for name in _NUMBERS}
    values |= {"images": measured.images, "images_seen": measured.images_seen}
    values["per_class"] = json.dumps(measured.per_class, separators=(",", ":"))
    values["robust"] = json.dumps(measured.robust, separators=(",", ":"))
    values |= {f"of_{name}": provenance.get(name, "") for name in _PROVENANCE}
    values |= {"machine": measured.machine, "fault": measured.fault}
    return values


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        csv.field_size_limit(1 << 24)
        return list(csv.DictReader(file))


def _read_rows(path: Path, what: str, parse: Callable[[dict[str, str]], _Row]) -> Iterable[_Row]:
    for number, row in enumerate(_read(path), 2):
        try:
            yield parse(row)
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"{path}: line {number} is not a {what} ({error}); take the file from git again"
            ) from error


def _cell(row: dict[str, str]) -> tuple[Cell, str, str]:
    """Return a cell, the key of its training, and why there is none."""
    search = int(row["search"]) if row["search"] else None
    cell = Cell(row["data set"], row["arm"], search, int(row["seed"]))
    return cell, row["training"], row["fault"]


def _training(row: dict[str, str]) -> tuple[str, Measured, Mapping[str, str]]:
    numbers: dict[str, Any] = {name: float(row[name]) for name in _NUMBERS}
    measured = Measured(
        **numbers,
        images=int(row["images"]),
        images_seen=int(row["images_seen"]),
        per_class=json.loads(row["per_class"]),
        robust=json.loads(row["robust"]),
        machine=row["machine"],
        fault=row["fault"],
    )
    return row["training"], measured, {name: row[f"of_{name}"] for name in _PROVENANCE}


def _searched(row: dict[str, str]) -> Searched:
    values: dict[str, Any] = dict(row)
    values |= {key: int(row[key]) for key in ("number", "trainings")}
    values |= {key: float(row[key]) for key in ("gain", "error", "seconds")}
    return Searched(**values)


def _read_right(path: Path) -> dict[str, tuple[str, int]]:
    return {row["training"]: (row["right"], int(row["images"])) for row in _read(path)}
