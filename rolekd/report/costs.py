"""Accuracy against size and latency: which networks are not beaten in both?"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from rolekd.report.style import ACCENT, FAINT, legible, style

_LOGARITHMIC = 10.0  # ratio of the largest to the smallest from which the axis is


_SMALL = 32  # pixels of a side, up to which operators' fixed costs dominate


@dataclass(frozen=True)
class Cost:
    """Cost and accuracy of one deployed network.

    Attributes:
        name: as in "student, 2 bits".
        accuracy: on the test images, 0..1.
        bytes: of its ONNX file.
        milliseconds: median latency of one image, one thread; None where it was not measured.
    """

    name: str
    accuracy: float
    bytes: int
    milliseconds: float | None


def front(costs: Sequence[Cost], axis: str) -> list[Cost]:
    """Return the networks whose accuracy no cheaper one reaches, the cheapest first."""
    best: list[Cost] = []
    measured = [cost for cost in costs if getattr(cost, axis) is not None]
    for cost in sorted(measured, key=lambda one: (getattr(one, axis), -one.accuracy)):
        if not best or cost.accuracy > best[-1].accuracy:
            best.append(cost)
    return best


def surprises(costs: Sequence[Cost], image_size: tuple[int, int] | None) -> list[str]:
    """Explain why a network that is smaller than the teacher is slower, if one is.

    Args:
        costs: the teacher's first.
        image_size: height and width of the images, pixels.
    """
    if not costs or costs[0].milliseconds is None:
        return []
    teacher, limit = costs[0], costs[0].milliseconds
    if image_size is not None and max(image_size) <= _SMALL:
        why = (
            f"At {image_size[0]}x{image_size[1]} pixels the arithmetic, where fewer bits help, "
            "costs little compared with the fixed cost of every operator, and a graph of integers "
            "has more operators (unfolding, scaling, rounding)"
        )
    else:
        why = "Measure it on the target machine before you choose it for speed: docs/deploy.md"
    return [
        f"{cost.name[:1].upper()}{cost.name[1:]} is smaller than the teacher, yet slower: "
        f"{cost.milliseconds:.3f} against {limit:.3f} ms. {why}."
        for cost in costs[1:]
        if cost.milliseconds is not None
        and cost.milliseconds > limit
        and cost.bytes < teacher.bytes
    ]


def cost_figure(costs: Sequence[Cost]) -> Figure:
    """Draw accuracy over size and over latency; a line joins those that are not beaten in both."""
    with style():
        figure = Figure(figsize=(4.6, 5.6), layout="constrained")
        above, below = figure.subplots(2)
        _panel(above, costs, "bytes", 1 / 1024, "file (KiB)")
        _panel(below, costs, "milliseconds", 1.0, "one image, one thread (ms)")
    return figure


def _panel(axes: Axes, costs: Sequence[Cost], axis: str, factor: float, label: str) -> None:
    best = front(costs, axis)
    axes.plot(
        [factor * getattr(cost, axis) for cost in best],
        [100 * cost.accuracy for cost in best],
        color=ACCENT,
        linewidth=1.0,
    )
    for cost in costs:
        if getattr(cost, axis) is None:
            continue
        place = factor * getattr(cost, axis), 100 * cost.accuracy
        axes.plot(*place, "o", color=ACCENT if cost in best else FAINT)
        name = legible(cost.name)
        axes.annotate(name, place, xytext=(6, 4), textcoords="offset points", fontsize=8.5)
    values = [getattr(cost, axis) for cost in costs if getattr(cost, axis) is not None]
    if values and max(values) > _LOGARITHMIC * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.35, y=0.2)
    axes.set_xlabel(label)
    axes.set_ylabel("test accuracy (%)")
    axes.grid()
