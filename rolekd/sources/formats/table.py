"""A table of images: labels.csv with the columns path, label and, if there is one, split."""

import csv
import io
from pathlib import Path

import numpy as np

from rolekd import files
from rolekd.errors import InputError, few
from rolekd.sources.files import ImageFiles, shown
from rolekd.sources.source import Listing, check_class_name

TABLE = "labels.csv"
_MOST_BYTES = 2**28  # about three million rows
_SPLITS = ("train", "val", "test")


class Table(ImageFiles):
    """A folder with `labels.csv`, whose paths are relative to the folder.

    The column split says train, val or test. Rows of val are the test split where none says
    test; otherwise they are more to train on.
    """

    def listing(self) -> Listing:
        """Return the rows, in their order."""
        rows = _read(self._root / TABLE)
        classes = sorted({label for _, label, _ in rows})
        index = {name: number for number, name in enumerate(classes)}
        splits = np.array([split for _, _, split in rows])
        held = [s for s in ("test", "val") if (splits == s).any()]
        self._paths = [self._root / path for path, _, _ in rows]
        test = np.flatnonzero(splits == held[0]).astype(np.int64) if held else None
        labels = np.array([index[label] for _, label, _ in rows], np.int64)
        if test is not None:
            _require_trained(np.delete(labels, test), classes, self._root / TABLE)
        return Listing([shown(path) for path in self._paths], labels, tuple(classes), test)


def _read(path: Path) -> list[tuple[str, str, str]]:
    try:
        with (
            files.open_regular(path, _MOST_BYTES) as binary,
            io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as file,
        ):
            reader = csv.DictReader(file, strict=True)
            missing = {"path", "label"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"{path}: has no column {', '.join(sorted(missing))}; "
                    "its first line must name the columns path, label and perhaps split"
                )
            rows = [_row(row, f"{path}, line {reader.line_num}") for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); write it as UTF-8 CSV") from error
    if not rows:
        raise InputError(f"{path}: has no rows; list the images")
    return rows


def _row(row: dict[str, str | None], origin: str) -> tuple[str, str, str]:
    path, label = row["path"] or "", (row["label"] or "").strip()
    if not path or Path(path).is_absolute() or ".." in Path(path).parts:
        # DVC watches the folder: what lies outside could change unseen
        raise InputError(f"{origin}: path {path!r} is not inside the folder; put the image there")
    check_class_name(label, origin)
    split = row.get("split", "train")
    if split not in _SPLITS:
        raise InputError(f"{origin}: split {split!r}; write train, val or test")
    return path, label, str(split)


def _require_trained(
    labels: "np.ndarray[tuple[int], np.dtype[np.int64]]", classes: list[str], path: Path
) -> None:
    absent = sorted(set(range(len(classes))) - set(labels.tolist()))
    if absent:
        names = few([classes[i] for i in absent])
        raise InputError(f"{path}: no image to train on in class {names}; add some or remove it")


SOURCES = {"csv": Table}
