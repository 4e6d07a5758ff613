"""What a study found, for people: tables, a figure, sentences, also inside other pages."""

import itertools
import os
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rolekd import files
from rolekd.augment.corruptions import CORRUPTIONS
from rolekd.errors import InputError, did_you_mean
from rolekd.evidence.answers import Answers, ArmComparison, ArmResult
from rolekd.evidence.design import Comparison
from rolekd.evidence.records import Records
from rolekd.evidence.status import of as progress_of
from rolekd.evidence.status import sentence as progress_sentence
from rolekd.evidence.status import warnings
from rolekd.report.style import ACCENT, FAINT, PALETTE, TEACHER_COLOUR, legible, save, style

TABLES, LIGHT, DARK = "tables.md", "differences-light.svg", "differences-dark.svg"
_WIDTH = 7.0  # inches
_LINE = 32  # characters of a label's line


def write(records: Records) -> list[Path]:
    """Write tables and figures into the folder of the records; return their paths."""
    answers = Answers(records)
    paths = []
    if any(answers.primary):
        drawn = differences_figure(answers)
        for name, dark in ((LIGHT, False), (DARK, True)):
            save(drawn, records.folder / name, dark=dark)
            paths.append(records.folder / name)
    text = records.folder / TABLES
    files.write_text(text, render(answers))
    return [*paths, text]


def fill_page(records: Records, path: Path) -> int:
    """Put parts of a study's answers between the marks of a page; return their number.

    A part is between `<!-- study NAME PART -->` and `<!-- /study -->`, where PART is a key of
    `PARTS`.

    Raises:
        InputError: The page cannot be read, has no mark of the study, or one without its end.
    """
    answers = Answers(records)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    name = re.escape(records.study.name)
    begin = re.compile(rf"(<!-- study {name} ([a-z-]+) -->\n)(.*?)(<!-- /study -->)", re.DOTALL)

    def part(found: re.Match[str]) -> str:
        if found[2] not in PARTS:
            raise InputError(f"{path}: study part {found[2]!r}; {did_you_mean(found[2], PARTS)}")
        if "<!-- study " in found[3]:
            raise InputError(f"{path}: a mark of study {name} has no <!-- /study -->; add it")
        lines = PARTS[found[2]](answers, path)
        return found[1] + "\n" + "\n".join(lines).strip() + "\n\n" + found[4]

    text, count = begin.subn(part, text)
    if not count:
        raise InputError(
            f"{path}: has no <!-- study {records.study.name} PART --> and <!-- /study -->; add "
            f"them, with a PART of {', '.join(PARTS)}"
        )
    files.write_text(path, text)
    return count


def _picture(answers: Answers, page: Path) -> list[str]:
    """Return the figure, light or dark to match the reader's page."""
    folder = Path(os.path.relpath(answers.records.folder, page.parent or "."))
    study = answers.study
    seen = f"test accuracy of each arm above {study.label(study.primary.against)}, with intervals"
    return [
        "<picture>",
        f'<source media="(prefers-color-scheme: dark)" srcset="{folder / DARK}">',
        f'<img alt="{seen}" src="{folder / LIGHT}">',
        "</picture>",
    ]


def render(answers: Answers) -> str:
    """Return the tables as Markdown."""
    study = answers.study
    parts = [
        f"# {study.name}: {study.question}",
        "",
        *verdicts(answers),
        "",
        *first_table(answers),
        "",
        *_comparisons(answers),
        *_every_arm(answers),
        *_crossed(answers),
        *_searches(answers),
        *_account(answers),
    ]
    return "\n".join(parts) + "\n"


def verdicts(answers: Answers) -> list[str]:
    """Return a sentence on the primary comparison for each data set."""
    study, lines = answers.study, []
    arm, against = (study.label(name) for name in (study.primary.arm, study.primary.against))
    judged = {one.data: one for one in answers.primary}
    for data in study.primary.data or study.data:
        label = study.data[data].label or data
        one = judged.get(data)
        if one is None:
            lines.append(f"- **{label}**: not judged: {_missing(answers, data)}.")
            continue
        gap = one.difference
        if gap.p_value is None or gap.low is None or gap.high is None:
            lines.append(
                f"- **{label}**: {_points(gap.mean)} points, without a spread to judge by."
            )
            continue
        size = (
            f"{_points(gap.mean)} points (95 % interval {_points(gap.low)} to {_points(gap.high)}, "
            f"exact p = {gap.p_value:.2g}, adjusted {gap.adjusted or gap.p_value:.2g}, "
            f"{_seeds(one.seeds, study.seeds)})"
        )
        if gap.is_clear:
            verb = "is better than" if gap.mean > 0 else "is worse than"
            lines.append(f"- **{label}**: {arm} {verb} {against} by {size}.")
        else:
            lines.append(
                f"- **{label}**: {arm} and {against} are not distinguished: {size}. "
                + _needed(one, study.primary.points)
            )
    return lines


def _missing(answers: Answers, data: str) -> str:
    """Say why the primary comparison cannot be made on a data set."""
    primary = answers.study.primary
    parts = []
    for name in (primary.arm, primary.against):
        if (data, name) not in answers.arms:
            failed = answers.failed[data, name]
            reason = f"{failed} of its cells failed" if failed else "is not done"
            parts.append(f"{answers.study.label(name)}: {reason}")
    return "; ".join(parts) or "the arms have no seed in common"


def _seeds(count: int, wanted: int) -> str:
    return f"{count} seeds" if count == wanted else f"{count} of {wanted} seeds"


def _needed(one: ArmComparison, points: float) -> str:
    """Say how many seeds would find the difference that matters."""
    gap = one.difference
    if one.needed is None:
        return f"More than 1,000 seeds would be needed to find {_of(points)}."
    found = (
        f"; these find {100 * gap.detectable:.1f} points"
        if gap.detectable is not None and np.isfinite(gap.detectable)
        else ""
    )
    return f"{one.needed} seeds find {_of(points)} four times in five{found}."


def _of(points: float) -> str:
    return f"{points:g} point{'' if points == 1 else 's'}"


def first_table(answers: Answers) -> list[str]:
    """Return accuracy with its interval, arm by data set: what a reader sees first."""
    study = answers.study
    data = [name for name in study.data if any(key[0] == name for key in answers.arms)]
    rows = []
    for name in answers.table():
        cells = []
        for each in data:
            arm = answers.arms.get((each, name))
            cells.append("" if arm is None else _with_interval(arm))
        if any(cells):
            rows.append([study.label(name), *cells])
    heads = ["test accuracy %, 95 % interval"]
    heads += [study.data[name].label or name for name in data]
    lines = _markdown(heads, rows)
    if answers.records.missing():
        lines += ["", f"Interim: {progress_sentence(progress_of(answers.records))}."]
    return lines


def _with_interval(arm: ArmResult) -> str:
    low, high = arm.interval
    failed = f", {arm.failed} cells failed" if arm.failed else ""
    return f"{100 * arm.accuracy:.1f} ({100 * low:.1f} … {100 * high:.1f}){failed}"


def _comparisons(answers: Answers) -> list[str]:
    study, lines = answers.study, []
    for data in study.data:
        found = [one for one in answers.primary if one.data == data] + answers.others(data)
        if not found:
            continue
        rows = []
        for one in found:
            gap = one.difference
            interval = ""
            if gap.low is not None and gap.high is not None:
                interval = f"{_points(gap.low)} … {_points(gap.high)}"
            rows.append(
                [
                    study.label(one.arm),
                    study.label(one.against),
                    _points(gap.mean),
                    interval,
                    _p(gap.p_value),
                    _p(gap.adjusted),
                    _seeds(one.seeds, study.seeds).removesuffix(" seeds"),
                    "" if one.needed is None else str(one.needed),
                ]
            )
        points = f"seeds that find {_of(study.primary.points)}"
        heads = ["arm", "against", "points", "95 % interval", "p", "p, Holm", "seeds", points]
        title = study.data[data].label or data
        lines += [f"## {title}: comparisons", "", *_markdown(heads, rows), ""]
        if data in (study.primary.data or study.data):
            lines += [
                "The first row is the primary comparison; its p is adjusted for the data sets, "
                "those of the others for one another.",
                "",
            ]
    return lines


def _every_arm(answers: Answers, *, crossed: bool = True) -> list[str]:
    """Return a table of the arms of each data set, with or without the crossed ones."""
    study, lines = answers.study, list[str]()
    for data in study.data:
        arms = [
            arm
            for (where, name), arm in answers.arms.items()
            if where == data and (crossed or name.partition("/")[0] not in study.crossed)
        ]
        if not arms:
            continue
        rows = [
            [
                study.label(arm.name),
                f"{100 * arm.accuracy:.2f}",
                f"{100 * arm.accuracies.std(ddof=1):.2f}" if len(arm.seeds) > 1 else "",
                f"{100 * arm.interval[0]:.2f} … {100 * arm.interval[1]:.2f}",
                f"{100 * arm.train_accuracy:.1f}",
                f"{100 * arm.calibration_error:.1f}",
                "" if arm.robust is None else f"{100 * arm.robust:.1f}",
                ", ".join(f"{100 * value:.1f}" for value in arm.by_search),
                str(len(arm.seeds)) + (f", {arm.failed} cells failed" if arm.failed else ""),
            ]
            for arm in arms
        ]
        heads = ["arm", "test accuracy %", "sd", "95 % interval", "training accuracy %"]
        heads += ["calibration error %", "corrupted %", "each search %", "seeds"]
        title = study.data[data].label or data
        lines += [f"## {title}: arms", "", *_markdown(heads, rows), ""]
    if any(arm.robust is not None for arm in answers.arms.values()):
        lines += [
            f"Corrupted: mean accuracy over {len(CORRUPTIONS)} corruptions "
            f"({', '.join(CORRUPTIONS)}) at five strengths. They are made by the operations that "
            "augmentation uses, so an augmented network has seen their like.",
            "",
        ]
    return lines


def _crossed(answers: Answers) -> list[str]:
    """Return a table for each group of crossed arms: its longest factor runs across."""
    study, lines = answers.study, list[str]()
    for data, (group, factors) in itertools.product(study.data, study.crossed.items()):
        across = max(factors, key=lambda name: len(factors[name]))
        down = [name for name in factors if name != across]
        rows = []
        for levels in itertools.product(*(factors[name] for name in down)):
            at = dict(zip(down, levels, strict=True))
            names = [
                "/".join([group, *((at | {across: level})[name] for name in factors)])
                for level in factors[across]
            ]
            found = [answers.arms.get((data, name)) for name in names]
            best = max((arm.accuracy for arm in found if arm is not None), default=None)
            if best is None:
                continue
            cells = ["" if arm is None else f"{100 * arm.accuracy:.2f}" for arm in found]
            marked = [
                f"**{cell}**" if arm is not None and arm.accuracy == best else cell
                for arm, cell in zip(found, cells, strict=True)
            ]
            rows.append([*levels, *marked])
        if rows:
            title = study.data[data].label or data
            heads = [*down, *(f"{across}: {level}" for level in factors[across])]
            lines += [f"## {title}: {group}", "", *_markdown(heads, rows), ""]
    if lines:
        lines += ["Test accuracy %, means over seeds and searches; bold: the best of a row.", ""]
    return lines


def _searches(answers: Answers) -> list[str]:
    rows, study = [], answers.study
    order = list(study.data)
    for one in sorted(answers.records.searches.values(), key=lambda one: order.index(one.data)):
        asked = study.label(one.arm) if one.arm in study.arms else ""
        known = [study.data[one.data].label or one.data, one.role, asked, str(one.number)]
        if one.fault:
            rows.append([*known, one.fault, "", "", ""])
            continue
        gain = f"{one.best}: {one.gain:+.4f} ± {one.error:.4f} ({one.measure})" if one.best else ""
        rows.append([*known, one.winner, gain, str(one.trainings), f"{one.seconds:.0f}"])
    if not rows:
        return []
    heads = [
        "data set",
        "role",
        "first asked for by",
        "search",
        "winner",
        "best in the final",
        "trainings",
        "s",
    ]
    return ["## Searches", "", *_markdown(heads, rows), ""]


def _account(answers: Answers) -> list[str]:
    """Say what is done, what failed, how long it took and where."""
    records = answers.records
    lines = ["## Account", "", f"- {progress_sentence(progress_of(records))}."]
    unique = {row.training: row for row in records.rows.values() if row.training}
    searched = sum(one.seconds for one in records.searches.values()) / 3600
    lines.append(
        f"- {len(unique)} trainings for these cells, and {len(records.searches)} searches of "
        f"{searched:.2f} hours of wall time."
    )
    seconds: defaultdict[str, float] = defaultdict(float)
    for row in unique.values():
        seconds[row.measured.machine] += row.measured.seconds
    count = Counter(row.measured.machine for row in unique.values())
    lines += [
        f"- {count[name]} of the trainings on {name}, {seconds[name] / 3600:.2f} hours (of "
        "processor time; on a GPU of wall time, several at once)."
        for name in count
        if name
    ]
    versions = sorted({row.provenance["code"] for row in unique.values()})
    if len(versions) > 1:
        lines.append(f"- They are of {len(versions)} versions of the code: {', '.join(versions)}.")
    faults = [
        (cell, row.measured.fault) for cell, row in records.rows.items() if row.measured.fault
    ]
    lines += [f"- failed: {cell}: {reason}" for cell, reason in faults]
    return [*lines, *(f"- {line}" for line in warnings(answers.study))]


PARTS: dict[str, Callable[[Answers, Path], list[str]]] = {
    "verdicts": lambda answers, _: verdicts(answers),
    "table": lambda answers, _: first_table(answers),
    "figure": _picture,
    "comparisons": lambda answers, _: _comparisons(answers),
    "arms": lambda answers, _: _every_arm(answers, crossed=False),
    "crossed": lambda answers, _: _crossed(answers),
    "searches": lambda answers, _: _searches(answers),
    "account": lambda answers, _: _account(answers),
}


@style()
def differences_figure(answers: Answers) -> Figure:
    """Draw how far each arm of the first table is above the reference of the primary one."""
    study, against = answers.study, answers.study.primary.against
    data = [name for name in study.data if (name, against) in answers.arms]
    names = [
        name
        for name in answers.table()
        if name != against and any((each, name) in answers.arms for each in data)
    ]
    drawn = Figure(figsize=(_WIDTH, 1.3 + 0.34 * len(names)), layout="constrained")
    panels = drawn.subplots(1, max(len(data), 1), sharey=True, squeeze=False)[0]
    for axes, each in zip(panels, data, strict=False):
        axes.axvline(0, color=FAINT, linewidth=1)
        for place, name in enumerate(names):
            found = answers.compare(each, Comparison(arm=name, against=against))
            if found is None:
                continue
            gap = found.difference
            low, high = (gap.mean if v is None else v for v in (gap.low, gap.high))
            errors = [[100 * (gap.mean - low)], [100 * (high - gap.mean)]]
            colour = _colour(answers, name)
            axes.errorbar([100 * gap.mean], [place], xerr=errors, fmt="o", color=colour, capsize=3)
        title = legible(study.data[each].label or each)
        axes.set_title(title.replace(", ", ",\n", 1), fontsize=9.5)
        axes.grid(axis="x")
        axes.set_xlabel("points")
    labels = [textwrap.fill(legible(study.label(name), 2 * _LINE), _LINE) for name in names]
    panels[0].set_yticks(range(len(names)), labels)
    panels[0].invert_yaxis()
    drawn.suptitle(
        f"Test accuracy above {legible(study.label(against))}", fontsize=10.5, x=0.01, ha="left"
    )
    return drawn


def _colour(answers: Answers, name: str) -> str:
    if answers.study.arms[name].role == "teacher":
        return TEACHER_COLOUR
    return ACCENT if name == answers.study.primary.arm else PALETTE[0]


def _points(share: float) -> str:
    return f"{round(100 * share, 2) + 0.0:+.2f}"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return the lines of a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |"
        for line in lines
    ]
