"""What a study found: tables, a figure, sentences. Made from the records alone, by one command.

An arm that searches decide is the mean over its searches, seed by seed and image by image; so its
pairs with another arm are as many as there are seeds.
"""

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rolekd import files
from rolekd.augment import ladder
from rolekd.augment.corruptions import CORRUPTIONS
from rolekd.errors import InputError, did_you_mean
from rolekd.evidence.design import Comparison
from rolekd.evidence.progress import of as progress_of
from rolekd.evidence.progress import sentence as progress_sentence
from rolekd.evidence.progress import warnings
from rolekd.evidence.records import Records, Row
from rolekd.report.statistics import holm, seeds_needed, two_way_interval
from rolekd.report.style import ACCENT, FAINT, PALETTE, TEACHER, legible, save, style
from rolekd.report.tables import CONFIDENCE, Difference, paired_difference

TABLES, LIGHT, DARK = "tables.md", "differences-light.svg", "differences-dark.svg"
_WIDTH = 7.0  # inches

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """What an arm came to on a data set.

    Attributes:
        name, data: Which.
        seeds: That are complete: of every search.
        failed: Number of the cells that failed.
        right: [seeds, images], share of the searches whose network is right.
        by_search: Mean accuracy of each search, where searches decide it.
        calibration_error, robust, train_accuracy: Means over seeds and searches; robust is over
            corruptions and strengths, None where they were not measured.
    """

    name: str
    data: str
    seeds: tuple[int, ...]
    failed: int
    right: Floats
    by_search: tuple[float, ...]
    calibration_error: float
    robust: float | None
    train_accuracy: float

    @property
    def accuracies(self) -> Floats:
        """Test accuracy of each seed."""
        found: Floats = self.right.mean(1)
        return found

    @property
    def accuracy(self) -> float:
        """Their mean."""
        return float(self.right.mean())

    @functools.cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy over seeds and test images."""
        low, high = two_way_interval(self.right, CONFIDENCE)
        return max(low, 0.0), min(high, 1.0)


@dataclass(frozen=True)
class Compared:
    """A comparison on a data set.

    Attributes:
        data: Its name.
        arm, against: Names of the arms.
        seeds: Pairs.
        difference: Of the first to the second; its adjusted p is Holm's, over data sets for the
            primary comparison, over all others of the data set for the others.
        needed: Seeds that would find the difference that matters four times in five; None: over
            1,000, or no spread to tell by.
    """

    data: str
    arm: str
    against: str
    seeds: int
    difference: Difference
    needed: int | None


class Answers:
    """What the records of a study say.

    Args:
        records: Of the study, complete or not.
    """

    def __init__(self, records: Records) -> None:
        self.records, self.study = records, records.study
        self._rows: dict[tuple[str, str], dict[int, dict[int | None, Row]]] = {}
        self.failed: Counter[tuple[str, str]] = Counter()
        for cell, row in records.rows.items():
            if row.measured.fault:
                self.failed[cell.data, cell.arm] += 1
            else:
                by_seed = self._rows.setdefault((cell.data, cell.arm), {})
                by_seed.setdefault(cell.seed, {})[cell.search] = row

    @functools.cached_property
    def arms(self) -> dict[tuple[str, str], Arm]:
        """(Data set, arm) -> what it came to; arms without a complete seed are left out."""
        found = {}
        for data in self.study.data:
            for name in self.study.arms:
                if (arm := self._arm(data, name)) is not None:
                    found[data, name] = arm
        return found

    def _arm(self, data: str, name: str) -> Arm | None:
        searches = self.study.searches if self.study.arms[name].is_searched else 1
        by_seed = self._rows.get((data, name), {})
        complete = {
            seed: [rows[search] for search in sorted(rows, key=lambda number: number or 0)]
            for seed, rows in sorted(by_seed.items())
            if len(rows) == searches
        }
        if not complete:
            return None
        rows = [row for found in complete.values() for row in found]
        right = [
            np.mean([self.records.right(row.training) for row in found], axis=0)
            for found in complete.values()
        ]
        robust = [
            fmean(map(fmean, row.measured.robust.values())) for row in rows if row.measured.robust
        ]
        by_search = [
            fmean(found[place].measured.accuracy for found in complete.values())
            for place in range(searches)
        ]
        return Arm(
            name,
            data,
            tuple(complete),
            self.failed[data, name],
            np.array(right, np.float64),
            tuple(by_search) if searches > 1 else (),
            fmean(row.measured.calibration_error for row in rows),
            fmean(robust) if robust else None,
            fmean(row.measured.train_accuracy for row in rows),
        )

    @functools.cached_property
    def primary(self) -> list[Compared]:
        """The primary comparison on each of its data sets."""
        one = self.study.primary
        names = one.data or self.study.data
        found = [self.compare(data, one, len(names)) for data in names]
        return _adjusted([each for each in found if each is not None])

    def others(self, data: str) -> list[Compared]:
        """Return the other comparisons on a data set."""
        count = len(self.study.comparisons)
        found = [self.compare(data, one, count) for one in self.study.comparisons]
        return _adjusted([each for each in found if each is not None])

    def compare(self, data: str, one: Comparison, comparisons: int = 1) -> Compared | None:
        """Compare two arms on a data set; None: they have no seed in common.

        Args:
            data: Its name.
            one: The arms.
            comparisons: Of how many this is one, which its p must be adjusted for.
        """
        pair = [self.arms.get((data, name)) for name in (one.arm, one.against)]
        first, second = pair
        if first is None or second is None:
            return None
        shared = sorted({*first.seeds} & {*second.seeds})
        if not shared:
            return None
        places = [[arm.seeds.index(seed) for seed in shared] for arm in (first, second)]
        right, reference = first.right[places[0]], second.right[places[1]]
        found = paired_difference(right, reference, comparisons)
        needed = None
        if found.p_value is not None:
            gaps = right.mean(1) - reference.mean(1)
            level = (1 - CONFIDENCE) / comparisons
            needed = seeds_needed(gaps, self.study.primary.points / 100, level)
        return Compared(data, one.arm, one.against, len(shared), found, needed)

    def table(self) -> list[str]:
        """Return the names of the arms of the first table."""
        if self.study.table:
            return list(self.study.table)
        named = [self.study.primary, *self.study.comparisons]
        return list(dict.fromkeys(name for one in named for name in (one.against, one.arm)))


def _adjusted(found: list[Compared]) -> list[Compared]:
    tested = [one for one in found if one.difference.p_value is not None]
    adjusted = holm([one.difference.p_value or 0.0 for one in tested])
    by_place = {id(one): value for one, value in zip(tested, adjusted, strict=True)}
    return [
        replace(one, difference=replace(one.difference, adjusted=by_place.get(id(one))))
        for one in found
    ]


def write(records: Records) -> list[Path]:
    """Write tables and figures into the folder of the records; return their paths."""
    answers = Answers(records)
    paths = []
    if any(answers.primary):
        drawn = figure(answers)
        for name, dark in ((LIGHT, False), (DARK, True)):
            save(drawn, records.folder / name, dark=dark)
            paths.append(records.folder / name)
    text = records.folder / TABLES
    files.write_text(text, render(answers))
    return [*paths, text]


def fill(records: Records, path: Path) -> int:
    """Put parts of a study's answers between the marks of a page; return their number.

    A part stands between `<!-- study NAME PART -->` and `<!-- /study -->`, where PART is a key of
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
    """Return the figure, light or dark as the reader's page is."""
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
        *_curves(answers),
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
                f"- **{label}**: {arm} and {against} are not told apart: {size}. "
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


def _needed(one: Compared, points: float) -> str:
    """Say how many seeds would tell the difference that matters."""
    gap = one.difference
    if one.needed is None:
        return f"More than 1,000 seeds would be needed to find {points:g} points."
    found = (
        f"; these find {100 * gap.detectable:.1f} points"
        if gap.detectable is not None and np.isfinite(gap.detectable)
        else ""
    )
    return f"{one.needed} seeds find {points:g} points four times in five{found}."


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


def _with_interval(arm: Arm) -> str:
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
        points = f"seeds that find {study.primary.points:g} points"
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


def _every_arm(answers: Answers) -> list[str]:
    study, lines = answers.study, []
    for data in study.data:
        arms = [arm for (name, _), arm in answers.arms.items() if name == data]
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
        lines += [f"## {title}: every arm", "", *_markdown(heads, rows), ""]
    if any(arm.robust is not None for arm in answers.arms.values()):
        lines += [
            f"Corrupted: mean accuracy over {len(CORRUPTIONS)} corruptions "
            f"({', '.join(CORRUPTIONS)}) at five strengths. They are made by the operations that "
            "augmentation uses, so an augmented network has seen their like.",
            "",
        ]
    return lines


@dataclass(frozen=True)
class Curve:
    """Accuracy over the ladder's strength; points are (strength, arm)."""

    title: str
    points: tuple[tuple[int, Arm], ...]

    @property
    def best(self) -> int:
        """The strength with the highest accuracy."""
        return max(self.points, key=lambda point: point[1].accuracy)[0]


def curves(answers: Answers, data: str) -> list[Curve]:
    """Return the curves of the arms that are crossed over rungs of the ladder."""
    found: dict[str, list[tuple[int, Arm]]] = {}
    for (where, name), arm in answers.arms.items():
        group = name.split("/")[0]
        if where != data or group not in answers.study.crossed:
            continue
        augmentation = answers.study.arms[name].augmentation
        if not ladder.is_rung(augmentation):
            continue
        family, strength = ladder.parse(augmentation)
        levels = [
            level
            for level, factor in zip(
                name.split("/")[1:], answers.study.crossed[group].values(), strict=False
            )
            if "augmentation" not in (factor[level] or {})
        ]
        title = " ".join([group, *levels, family])
        found.setdefault(title, []).append((strength, arm))
    return [
        Curve(title, tuple(sorted(points, key=lambda p: p[0])))
        for title, points in found.items()
        if len(points) > 1
    ]


def _curves(answers: Answers) -> list[str]:
    lines = []
    for data in answers.study.data:
        found = curves(answers, data)
        if not found:
            continue
        strengths = sorted({strength for curve in found for strength, _ in curve.points})
        rows = []
        for curve in found:
            by = dict(curve.points)
            cells = [f"{100 * by[s].accuracy:.2f}" if s in by else "" for s in strengths]
            rows.append([curve.title, *cells, str(curve.best)])
        title = answers.study.data[data].label or data
        heads = ["accuracy % at strength", *map(str, strengths), "best"]
        lines += [f"## {title}: strength", "", *_markdown(heads, rows), ""]
    return lines


def _searches(answers: Answers) -> list[str]:
    rows = []
    for one in answers.records.searches.values():
        known = [one.data, one.role, one.teacher, str(one.number)]
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
        "teacher",
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
    hours = sum(row.measured.seconds for row in unique.values()) / 3600
    searched = sum(one.seconds for one in records.searches.values()) / 3600
    lines.append(
        f"- {len(unique)} trainings for these cells, {hours:.2f} hours of processor time; searches "
        f"{searched:.2f} hours of wall time."
    )
    machines = Counter(row.measured.machine for row in unique.values() if row.measured.machine)
    lines += [f"- {count} of them on {name}." for name, count in machines.items()]
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
    "arms": lambda answers, _: _every_arm(answers),
    "strength": lambda answers, _: _curves(answers),
    "searches": lambda answers, _: _searches(answers),
    "account": lambda answers, _: _account(answers),
}


@style()
def figure(answers: Answers) -> Figure:
    """Draw what each arm of the first table is above the one that the primary is compared to."""
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
    panels[0].set_yticks(range(len(names)), [legible(study.label(name)) for name in names])
    panels[0].invert_yaxis()
    drawn.suptitle(
        f"Test accuracy above {legible(study.label(against))}", fontsize=10.5, x=0.01, ha="left"
    )
    return drawn


def _colour(answers: Answers, name: str) -> str:
    if answers.study.arms[name].role == "teacher":
        return TEACHER
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
