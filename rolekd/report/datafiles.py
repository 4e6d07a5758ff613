"""Files that an evaluation leaves: its tables as CSV and JSON, its predictions as NPZ.

The CSV files have a header, so that `dvc plots` draws them as they are.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rolekd import files
from rolekd.errors import InputError
from rolekd.report.tables import Arm, Evaluation, Floats, Integers, per_class


def write_tables(evaluation: Evaluation, folder: Path) -> None:
    """Write arms.json and the tables per seed, class, pair of classes and calibration bin."""
    classes = evaluation.classes
    evaluation.table().save(folder / "arms.json")
    seeds, of_class, pairs, bins = [], [], [], []
    for arm in evaluation.arms:
        seeds += [
            {"arm": arm.name, "seed": seed, "accuracy": value}
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
        bins += calibration_rows(arm)
    for name, rows in {
        "seeds": seeds,
        "per_class": of_class,
        "confusion": pairs,
        "calibration": bins,
    }.items():
        files.write_csv(folder / f"{name}.csv", rows)


def calibration_rows(arm: Arm) -> list[dict[str, Any]]:
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


def save_predictions(path: Path, logits: Mapping[str, Floats], labels: Integers) -> None:
    """Write the logits [seeds, images, classes] of every arm and the labels [images]."""
    arrays = {f"logits/{arm}": np.asarray(array, np.float32) for arm, array in logits.items()}
    with files.replacing(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, labels=np.asarray(labels), **arrays)


def load_predictions(path: Path) -> tuple[dict[str, Floats], Integers]:
    """Read what `save_predictions` wrote.

    Raises:
        InputError: the file is missing, or is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            logits = {
                name.removeprefix("logits/"): arrays[name]
                for name in arrays.files
                if name.startswith("logits/")
            }
            return logits, arrays["labels"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no file of predictions ({error}); run evaluate again") from error
