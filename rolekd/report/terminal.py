"""The comparison of the arms, for a terminal."""

from typing import Any

from rolekd.console import Table
from rolekd.report.tables import Arm, Evaluation

_WIDE = 110  # characters from which the table has a description of each arm


def arms_table(evaluation: Evaluation, width: int = _WIDE) -> Table:
    """Return the table of the arms for a rich console.

    In a narrow terminal, `arms_list` describes the arms instead.
    """
    seeds = max(len(arm.accuracies) for arm in evaluation.arms)
    wide = width >= _WIDE
    narrow: dict[str, Any] = {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)}
    table = Table(
        title=f"Test accuracy, {seeds} seeds, {evaluation.images} images",
        caption=f"Difference from {evaluation.baseline} in percentage points, over paired seeds: "
        "95 % interval over seeds and test images; p is exact, adjusted by Holm",
        title_justify="left",
        caption_justify="left",
        **({} if wide else narrow),
    )
    table.add_column("arm")
    if wide:
        table.add_column("what it is")
    for heading in ("accuracy %", "difference", "95 % interval", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("calibration error %", justify="right")
    for arm in evaluation.arms:
        what = [evaluation.describe(arm.name)] if wide else []
        table.add_row(arm.name, *what, *cells(arm))
    return table


def arms_list(evaluation: Evaluation, width: int) -> Table | None:
    """Return a description of each arm, if the table of the arms does not have it."""
    if width >= _WIDE:
        return None
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for arm in evaluation.arms:
        table.add_row(arm.name, evaluation.describe(arm.name))
    return table


def cells(arm: Arm) -> tuple[str, ...]:
    """Return accuracy, difference, interval, adjusted p and calibration error of an arm."""
    accuracy = f"{100 * arm.mean:.2f}"
    if arm.deviation is not None:
        accuracy += f" ± {100 * arm.deviation:.2f}"
    gap = arm.difference
    difference = f"{100 * gap.mean:+.2f}" if gap else "—"
    interval = "—"
    if gap and gap.low is not None and gap.high is not None:
        interval = f"{100 * gap.low:+.2f} … {100 * gap.high:+.2f}"
    p_value = "—"
    if gap and gap.adjusted is not None:
        p_value = "< 0.001" if gap.adjusted < 0.001 else f"{gap.adjusted:.3f}"
    return accuracy, difference, interval, p_value, f"{100 * arm.calibration_error:.1f}"
