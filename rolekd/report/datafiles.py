"""Files of an evaluation: tables as CSV and JSON, predictions as NPZ.

The CSV files have a header, so that `dvc plots` draws them as they are; a column `colour` has the
report's.
"""

import contextlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from rolekd import files
from rolekd.errors import InputError
from rolekd.report.style import colours
from rolekd.report.tables import Arm, Evaluation, Floats, Integers, per_class

# prefix of an array's name, before the arm
_LOGITS, _WEIGHTS = "logits/", "weights/"


def write_tables(evaluation: Evaluation, folder: Path) -> None:
    """Write arms.json and the tables per seed, class, pair of classes and calibration bin."""
    classes, shades = evaluation.classes, colours(evaluation.compare)
    evaluation.table().save(folder / "arms.json")
    seeds, of_class, pairs, bins = [], [], [], []
    for arm in evaluation.arms:
        seeds += [
            {"arm": arm.name, "seed": seed, "accuracy": value, "colour": shades[arm.name]}
            for seed, value in enumerate(arm.accuracies)
        ]
        figures = per_class(arm.confusion)
        for index, name in enumerate(classes):
            figures_of = {key: float(column[index]) for key, column in figures.items()}
            images = int(arm.confusion[index].sum()) // len(arm.accuracies)
            of_class.append({"arm": arm.name, "class": name, "images": images, **figures_of})
            pairs += [
                {"arm": arm.name, "actual": name, "predicted": other, "count": int(count)}
                for other, count in zip(classes, arm.confusion[index], strict=True)
            ]
        bins += [row | {"colour": shades[arm.name]} for row in _calibration_rows(arm)]
    for name, rows in {
        "seeds": seeds,
        "per_class": of_class,
        "confusion": pairs,
        "calibration": bins,
    }.items():
        files.write_csv(folder / f"{name}.csv", rows)


def _calibration_rows(arm: Arm) -> list[dict[str, Any]]:
    """Return the calibration bins that hold predictions, one row each."""
    table = arm.calibration
    return [
        {
            "arm": arm.name,
            "low": float(table.edges[index]),
            "high": float(table.edges[index + 1]),
            "predictions": int(table.count[index]),
            "confidence": float(table.confidence[index]),
            "accuracy": float(table.accuracy[index]),
        }
        for index in np.flatnonzero(table.count)
    ]


def save_predictions(
    path: Path,
    logits: Mapping[str, Floats],
    labels: Integers,
    weights: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write what every arm's students predict.

    Args:
        path: Of the file.
        logits: Arm -> [seeds, images, classes].
        labels: [images].
        weights: Arm -> SHA-256 of the file of weights that made them, one per seed.
    """
    arrays: dict[str, Any] = {
        f"{_LOGITS}{arm}": np.asarray(array, np.float32) for arm, array in logits.items()
    }
    arrays |= {f"{_WEIGHTS}{arm}": np.array(hashes) for arm, hashes in (weights or {}).items()}
    with files.replacing(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, labels=np.asarray(labels), **arrays)


def load_predictions(path: Path) -> tuple[dict[str, Floats], Integers]:
    """Read the logits and labels that `save_predictions` wrote.

    Raises:
        InputError: the file is missing, or is not such a file.
    """
    with _opened(path) as arrays:
        return _of_arms(arrays, _LOGITS), arrays["labels"]


def load_weights(path: Path) -> dict[str, list[str]]:
    """Read the hashes of the weights that made predictions: arm -> one per seed.

    Raises:
        InputError: the file is missing, or is not such a file.
    """
    with _opened(path) as arrays:
        return {arm: hashes.tolist() for arm, hashes in _of_arms(arrays, _WEIGHTS).items()}


def _of_arms(arrays: NpzFile, prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): arrays[name] for name in arrays.files if name.startswith(prefix)
    }


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[NpzFile]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a file of predictions ({error}); run evaluate again"
        ) from error
