"""A table of images: a CSV file with columns for path, label and optionally split."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rolekd import files
from rolekd.data.dataset import Indices, Labels
from rolekd.errors import InputError, few
from rolekd.params import DataParams, TableParams
from rolekd.sources.listing import ImageFiles, outside, path_text
from rolekd.sources.source import Listing, check_class_name, part_of

_MOST_BYTES = 2**28  # about three million rows
_EXCESS = None  # DictReader's key for the fields that a row has more than the header
_SEPARATORS = ",;\t|"

_Row = tuple[str, str, str]  # path, label, and train, val or test


class TableSource(ImageFiles):
    """A folder with a table (`labels.csv`), whose paths are relative to the folder.

    `data.table` can name another file, other columns, another separator, and another folder that
    paths start from; they may also be absolute. The column split says train, val or test.
    """

    def __init__(self, params: DataParams) -> None:
        super().__init__(params)
        self._table = params.table
        self._file = self._root / params.table.file
        if self._table.root is not None and not self._table.root.is_dir():
            raise InputError(
                f"data.table.root: {self._table.root} is not a folder; name the one that paths "
                f"start "
                "from, or null"
            )

    def listing(self) -> Listing:
        """Return the rows, in their order."""
        rows, unread = _read(self._file, self._table)
        classes = sorted({label for _, label, _ in rows})
        index = {name: number for number, name in enumerate(classes)}
        labels = np.array([index[label] for _, label, _ in rows], np.int64)
        parts = np.array([part for _, _, part in rows])
        start = self._table.root or self._root
        self._paths = [start / path for path, _, _ in rows]
        _require_trained(labels[parts == "train"], classes, self._file)
        return Listing(
            names=[path_text(path) for path in self._paths],
            labels=labels,
            classes=tuple(classes),
            test=_places(parts, "test"),
            validation=_places(parts, "val"),
            outside=outside([self._file, *self._paths], self._root),
            unread=tuple(unread),
        )


def _places(parts: "np.ndarray[tuple[int], np.dtype[np.str_]]", part: str) -> Indices | None:
    found = np.flatnonzero(parts == part).astype(np.int64)
    return found if len(found) else None


def _read(path: Path, columns: TableParams) -> tuple[list[_Row], list[str]]:
    """Return the rows of a table, and the names of its columns that are not read."""
    rows: list[_Row] = []
    names: Sequence[str] = ()
    faults: list[str] = []
    try:
        with (
            files.open_regular(path, _MOST_BYTES) as binary,
            io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as file,
        ):
            reader = csv.DictReader(file, strict=True, delimiter=columns.delimiter)
            names = reader.fieldnames or ()
            _require_columns(names, columns, path)
            for row in reader:
                try:
                    rows.append(_row(row, columns, f"line {reader.line_num}"))
                except InputError as error:
                    faults.append(str(error))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such file; write the table there, or name it in data.table.file"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check the file that data.table.file names"
        ) from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); write it as UTF-8 CSV") from error
    if faults:
        count = f"{len(faults)} faulty rows: " if len(faults) > 1 else ""
        raise InputError(f"{path}, {count}{few(faults, separator=' | ')}")
    if not rows:
        raise InputError(f"{path}: has no rows; list the images")
    read = {columns.path, columns.label, columns.split}
    return rows, [name for name in names if name not in read]


def _require_columns(names: Sequence[str], columns: TableParams, path: Path) -> None:
    """Refuse a table without the columns that `columns` names; only split may be missing."""
    keys = {"path": columns.path, "label": columns.label}
    # one that was named is wanted, and one that is almost called so is meant
    alike = [name for name in names if name.strip().lower() == columns.split.strip().lower()]
    if alike or columns.split != TableParams().split:
        keys["split"] = columns.split
    missing = {key: name for key, name in keys.items() if name not in names}
    if not missing:
        return
    if not names:
        what = "its first line is" if path.stat().st_size else "is"
        header = columns.delimiter.join(keys.values())
        raise InputError(
            f"{path}: {what} empty; write {header!r} there, then a line for each image"
        )
    header = "".join(names)
    other = next((s for s in _SEPARATORS if s != columns.delimiter and s in header), None)
    remedy = f"name the right ones in data.table.{' and data.table.'.join(missing)}"
    if len(names) == 1 and other is not None:
        remedy = f"set data.table.delimiter to {other!r}"
    raise InputError(
        f"{path}: has no column {_quoted(missing.values())}, but {_quoted(names)}; {remedy}"
    )


def _quoted(names: Iterable[str]) -> str:
    """Return names of columns, with whatever space is around them."""
    return few([repr(name) for name in names])


def _row(row: Mapping[str | None, str | None], columns: TableParams, origin: str) -> _Row:
    if _EXCESS in row:  # with a comma in a name, the fields after it are not what they seem
        raise InputError(
            f"{origin}: more fields than the header; quote the one with {columns.delimiter!r} in it"
        )
    path = row[columns.path] or ""
    if not path or ".." in Path(path).parts:
        # DVC watches the folder: files outside could change unnoticed
        raise InputError(
            f"{origin}: path {path!r} is not inside the folder; put the image there, or write an "
            "absolute path"
        )
    label = check_class_name((row[columns.label] or "").strip(), origin)
    split = "train" if columns.split not in row else row[columns.split] or ""
    part = part_of(split)
    if part is None:
        raise InputError(f"{origin}: split {split!r}; write train, val or test")
    return path, label, part


def _require_trained(labels: Labels, classes: list[str], path: Path) -> None:
    absent = sorted(set(range(len(classes))) - set(labels.tolist()))
    if absent:
        names = few([classes[i] for i in absent])
        raise InputError(f"{path}: no training image in class {names}; add some or remove it")


SOURCES = {"csv": TableSource}
