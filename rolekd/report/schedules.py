"""Pictures of schedules: what each role's policies do, epoch by epoch."""

import html
import io
from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rolekd.augment.policy import COPIES, OPERATIONS
from rolekd.augment.schedule import Schedule
from rolekd.display import shown
from rolekd.report.style import legible, style

_COLOURS = [colormaps["tab20"](i) for i in range(len(OPERATIONS))]


@style()
def schedule_figure(schedules: Mapping[str, Schedule]) -> Figure:
    """Draw schedules side by side: stacked probabilities and magnitudes over the epochs.

    Args:
        schedules: role (or another name) -> its schedule.

    Returns:
        A figure with one column a schedule. Above, the sum of the two copies' probabilities of
        each operation, stacked: the height is the mean number of entries that would act on an
        image if none were cut off after two. Below, the same, each entry times its magnitude.
    """
    columns = max(len(schedules), 1)
    figure = Figure(figsize=(2.5 + 5.0 * columns, 7.0), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False, sharey="row")
    shares = {name: _shares(schedule) for name, schedule in schedules.items()}
    for column, (name, schedule) in enumerate(schedules.items()):
        for row in (0, 1):
            tallest = max(share[row].sum(axis=0).max() for share in shares.values())
            _stack(axes[row, column], schedule, shares[name][row])
            axes[row, column].set_ylim(0, 1.05 * tallest or 1.0)
        axes[0, column].set_title(legible(name))
        axes[1, column].set_xlabel("epoch")
    axes[0, 0].set_ylabel("probabilities (both copies, stacked)")
    axes[1, 0].set_ylabel("magnitudes x probabilities (stacked)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", fontsize="small")
    return figure


@style()
def schedule_page(schedules: Mapping[str, Schedule]) -> str:
    """Return a self-contained HTML page with the figure of `schedule_figure`."""
    buffer = io.StringIO()
    schedule_figure(schedules).savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    title = html.escape(shown(", ".join(schedules)))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:sans-serif;margin:1em}svg{max-width:100%;height:auto}</style>"
        f"</head><body><h1>Schedules: {title}</h1>\n{svg[svg.index('<svg') :]}</body></html>\n"
    )


def _shares(schedule: Schedule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return [operations, segments + 1] of probabilities and of probability x magnitude."""
    values = np.array([list(policy) for _, policy in schedule.segments])
    pairs = values.reshape(-1, COPIES, len(OPERATIONS), 2)
    probabilities = pairs[..., 0] / 10
    shares = probabilities.sum(axis=1), (probabilities * pairs[..., 1]).sum(axis=1)
    # The last column again: a step holds until the next edge.
    first, second = (np.vstack([share, share[-1:]]).T for share in shares)
    return first, second


def _stack(axes: Axes, schedule: Schedule, shares: NDArray[np.float64]) -> None:
    edges = [start for start, _ in schedule.segments] + [schedule.epochs]
    axes.stackplot(edges, shares, labels=OPERATIONS, colors=_COLOURS, step="post")
    axes.set_xlim(0, schedule.epochs)
    for edge in edges[1:-1]:
        axes.axvline(edge, color="black", linewidth=0.5, alpha=0.4)
