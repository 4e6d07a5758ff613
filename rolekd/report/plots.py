"""Figures of an evaluation: arms, calibration, confusion, mistakes.

Widths are chosen for a phone: half of a page at 1280 pixels, a whole one at 390.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rolekd.report.style import ACCENT, FAINT, INK, PAPER, colours, legible, style
from rolekd.report.tables import Arm, Evaluation, Floats, Integers, probabilities

_WIDTH = 4.6  # inches
_MISTAKES = 10  # pictures at most
_LABELLED_CLASSES = 20  # more names and numbers would not be legible
_HEAT = LinearSegmentedColormap.from_list("heat", [(0.85, 0.38, 0.17, a) for a in (0.0, 0.95)])


@style()
def accuracy_figure(evaluation: Evaluation) -> Figure:
    """Draw each arm's test accuracy: a dot for every seed, a bar at their mean."""
    figure, axes = _rows(evaluation.arms)
    shades = colours(evaluation.compare)
    for place, arm in enumerate(evaluation.arms):
        values = 100 * np.array(arm.accuracies)
        axes.plot(values, np.full(len(values), place), "o", color=shades[arm.name], alpha=0.55)
        axes.plot(100 * arm.mean, place, "|", color=INK, markersize=16, markeredgewidth=2)
        axes.annotate(
            f"{100 * arm.mean:.1f}",
            (100 * arm.mean, place),
            xytext=(0, 11),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    axes.margins(x=0.08)
    axes.set_xlabel("test accuracy (%)")
    return figure


@style()
def difference_figure(evaluation: Evaluation) -> Figure:
    """Draw each arm's difference to the baseline with its 95 % confidence interval."""
    arms = [arm for arm in evaluation.arms if arm.difference is not None]
    figure, axes = _rows(arms)
    axes.axvline(0.0, color=ACCENT, linewidth=1.2)
    shades = colours(evaluation.compare)
    for place, arm in enumerate(arms):
        gap = arm.difference
        assert gap is not None
        if gap.low is not None and gap.high is not None:
            axes.plot([100 * gap.low, 100 * gap.high], [place, place], color=INK, linewidth=1.2)
        shade = shades[arm.name]
        face = shade if gap.is_clear else PAPER
        axes.plot(100 * gap.mean, place, "o", color=shade, markerfacecolor=face)
    axes.margins(x=0.08)
    axes.set_xlabel(f"minus {legible(evaluation.baseline)} (points)")
    return figure


def calibration_figure(evaluation: Evaluation, names: Sequence[str]) -> Figure:
    """Draw how often predictions of a confidence are right; on the diagonal they are calibrated.

    Args:
        evaluation: the arms.
        names: of the arms to draw; more than three lines hide each other.
    """
    shades = colours(evaluation.compare)
    with style():
        figure = Figure(figsize=(_WIDTH, 3.9), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 100], [0, 100], color=FAINT, linestyle=":", label="as sure as right")
        for arm in map(evaluation.arm, names):
            table = arm.calibration
            filled = table.count > 0
            share = table.count[filled] / table.count.sum()
            x, y = 100 * table.confidence[filled], 100 * table.accuracy[filled]
            shade = shades[arm.name]
            error = f"{100 * arm.calibration_error:.1f}"
            axes.plot(x, y, color=shade, label=f"{legible(arm.name)} (error {error} %)")
            axes.scatter(x, y, s=8 + 160 * share, color=shade)
        axes.set_xlabel("confidence (%)")
        axes.set_ylabel("right predictions (%)")
        axes.set_xlim(0, 102)
        axes.set_ylim(0, 102)
        axes.grid()
        axes.legend(loc="lower right", fontsize=9)
    return figure


def confusion_figure(arm: Arm, classes: Sequence[str]) -> Figure:
    """Draw true against predicted classes; colour is the share of the true class."""
    share = arm.confusion / np.maximum(arm.confusion.sum(1, keepdims=True), 1)
    labelled = len(classes) <= _LABELLED_CLASSES
    with style():
        figure = Figure(figsize=(_WIDTH, 4.2), layout="constrained")
        axes = figure.subplots()
        picture = axes.imshow(100 * share, cmap=_HEAT, vmin=0, vmax=100)
        figure.colorbar(picture, ax=axes, label="share of the true class (%)", shrink=0.8)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.spines[:].set_visible(True)
        if labelled:
            names = [legible(name) for name in classes]
            turned = max(map(len, names)) > 3
            axes.set_xticks(range(len(names)), names, rotation=90 if turned else 0)
            axes.set_yticks(range(len(names)), names)
            for row, column in np.argwhere(arm.confusion):
                count = str(arm.confusion[row, column])
                axes.text(column, row, count, ha="center", va="center", fontsize=8)
    return figure


def mistakes_figure(
    images: NDArray[np.uint8],
    labels: Integers,
    logits: Floats,
    classes: Sequence[str],
) -> Figure | None:
    """Draw the most confident wrong predictions of one network; None if there are none.

    Args:
        images: uint8 [N, H, W, C].
        labels: [N].
        logits: [N, classes].
        classes: names.
    """
    share = probabilities(logits)
    wrong = np.flatnonzero(share.argmax(-1) != labels)
    if len(wrong) == 0:
        return None
    chosen = wrong[np.argsort(-share[wrong].max(-1), kind="stable")][:_MISTAKES]
    columns = min(5, len(chosen))
    rows = -(-len(chosen) // columns)
    with style():
        figure = Figure(figsize=(1.15 * columns, 1.6 * rows), layout="constrained")
        cells = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for cell in cells:
            cell.set_axis_off()
        for cell, index in zip(cells, chosen, strict=False):
            image = images[index] if images.shape[3] == 3 else images[index, :, :, 0]
            cell.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            guess = int(share[index].argmax())
            sure = 100 * share[index, guess]
            said, true = legible(classes[guess]), legible(classes[labels[index]])
            title = f"says {said} ({sure:.0f} %)\nis {true}"
            cell.set_title(title, fontsize=8, fontweight="normal")
    return figure


def _rows(arms: Sequence[Arm]) -> tuple[Figure, Axes]:
    """Return a figure with a named row for each arm, the first on top."""
    figure = Figure(figsize=(_WIDTH, 1.0 + 0.42 * len(arms)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(arms)), [legible(arm.name) for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.75)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return figure, axes
