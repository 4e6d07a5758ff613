"""Figures over the epochs: searches and trainings."""

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rolekd import files
from rolekd.errors import InputError
from rolekd.report.style import ACCENT, FAINT, PALETTE, legible, style

_WIDTH = 4.6  # inches
_MOST_BYTES = 2**28  # of a table; some million epochs


@dataclass(frozen=True)
class SearchRow:
    """One member's generation of a search.

    Attributes:
        generation, member: where in the search it is.
        parent: member of the generation before that it continues; None: fresh weights.
        epoch: epochs of training behind it at its end.
        accuracy: on the search's validation images, 0..1; None where the loss became NaN.
        in_lineage: it is the winner or one of its ancestors.
        teacher_stddev: of the teacher's mean probability over its batches; None: not measured.
    """

    generation: int
    member: int
    parent: int | None
    epoch: int
    accuracy: float | None
    in_lineage: bool
    teacher_stddev: float | None = None


def read_search(path: Path) -> list[SearchRow]:
    """Read a search stage's history.csv.

    Raises:
        InputError: the file is missing or lacks a column.
    """
    try:
        return [
            SearchRow(
                generation=int(row["generation"]),
                member=int(row["member"]),
                parent=int(row["parent"]) if row["parent"] else None,
                epoch=int(row["first_epoch"]) + int(row["epochs"]),
                accuracy=float(row["accuracy"]) if row["accuracy"] else None,
                in_lineage=row["in_lineage"] in ("True", "true", "1"),
                teacher_stddev=float(row["teacher_stddev"]) if row.get("teacher_stddev") else None,
            )
            for row in read_rows(path)
        ]
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not the history of a search ({error}); run the search again"
        ) from error


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header; a missing or damaged one is an `InputError`."""
    try:
        text = files.read_bytes(path, _MOST_BYTES).decode()
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); run the stage that writes it first"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table ({error}); run its stage again") from error


def search_figure(rows: Sequence[SearchRow], title: str = "") -> Figure:
    """Draw every member's accuracy, with lines to the parent; the winner's lineage stands out."""
    by_place = {(row.generation, row.member): row for row in rows}
    with style():
        figure = Figure(figsize=(_WIDTH, 3.3), layout="constrained")
        axes = figure.subplots()
        for row in rows:
            if row.accuracy is None:
                continue
            parent = None
            if row.parent is not None:
                parent = by_place.get((row.generation - 1, row.parent))
            if parent is not None and parent.accuracy is not None:
                line = row.in_lineage and parent.in_lineage
                axes.plot(
                    [parent.epoch, row.epoch],
                    [100 * parent.accuracy, 100 * row.accuracy],
                    color=ACCENT if line else FAINT,
                    linewidth=2.2 if line else 0.7,
                    alpha=1.0 if line else 0.6,
                    zorder=3 if line else 1,
                )
        for chosen, shade, size, label in (
            (False, FAINT, 10, "member"),
            (True, ACCENT, 26, "winner and its ancestors"),
        ):
            group = [s for s in rows if s.in_lineage is chosen and s.accuracy is not None]
            axes.scatter(
                [row.epoch for row in group],
                [100 * (row.accuracy or 0.0) for row in group],
                color=shade,
                s=size,
                label=label,
                zorder=4 if chosen else 2,
            )
        axes.set_title(legible(title))
        axes.set_xlabel("epoch")
        axes.set_ylabel("validation accuracy (%)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid()
        axes.legend(loc="lower right", fontsize=9)
    return figure


def curves_figure(
    curves: Mapping[str, Sequence[Mapping[str, str]]],
    column: str,
    label: str,
    factor: float = 1.0,
    shades: Mapping[str, str] | None = None,
) -> Figure:
    """Draw a column of epochs.csv per arm: the mean over its seeds, a band from least to most.

    Args:
        curves: arm -> rows with `epoch` and `column`; several seeds give several rows an epoch.
        column: what to draw, as in "loss".
        label: of the axis, with the unit.
        factor: multiplies the values, 100 for percent.
        shades: arm -> its colour; others get one by their place.
    """
    with style():
        figure = Figure(figsize=(_WIDTH, 3.8), layout="constrained")
        axes = figure.subplots()
        for place, (arm, rows) in enumerate(curves.items()):
            values: dict[int, list[float]] = defaultdict(list)
            for row in rows:
                values[int(row["epoch"])].append(factor * float(row[column]))
            epochs = np.array(sorted(values))
            means = [float(np.mean(values[epoch])) for epoch in epochs]
            shade = (shades or {}).get(arm, PALETTE[place % len(PALETTE)])
            axes.plot(epochs + 1, means, color=shade, label=legible(arm))
            lows, highs = ([f(values[e]) for e in epochs] for f in (min, max))
            axes.fill_between(epochs + 1, lows, highs, color=shade, alpha=0.15, linewidth=0)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid()
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure
