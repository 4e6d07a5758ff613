"""The final of a search: a table of its candidates, and a figure of their gains over strength."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rolekd.augment import ladder
from rolekd.errors import InputError
from rolekd.report.histories import read_rows
from rolekd.report.predictor import PREDICTORS, agreement
from rolekd.report.statistics import EXACT_PAIRS, paired_p_value, t_interval
from rolekd.report.style import ACCENT, FAINT, PALETTE, legible, style
from rolekd.report.tables import CONFIDENCE
from rolekd.search.final import (
    ACCURACY,
    LOG_LOSS,
    NONE_CANDIDATE,
    SCALES,
    TEACHER_ACCURACY,
    CandidateTraining,
    Standing,
    standings,
)

_WIDTH, _HEIGHT = 4.6, 2.7  # of a panel, inches
_SHOWN = {LOG_LOSS: SCALES[LOG_LOSS].unit, ACCURACY: f"{SCALES[ACCURACY].unit} of accuracy"}


@dataclass(frozen=True)
class Final:
    """A final as the page shows it.

    Attributes:
        standings: Candidates, those with most rungs first, then by result.
        by_accuracy: The same, whatever was compared, by their accuracy.
        winner: Name of the candidate whose schedule was chosen.
        ladder: Candidate -> the rung of the ladder that does the same, if there is one.
        predictors: Name of a predictor -> candidate -> mean paired difference to none, of those
            that every training measured.
        teachers: Candidate -> accuracies of its teachers themselves, 0..1, where a teacher is
            judged by its student, of whom all else is; else empty.
    """

    standings: Sequence[Standing]
    by_accuracy: Sequence[Standing]
    winner: str
    ladder: Mapping[str, str] = field(default_factory=dict)
    predictors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    teachers: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def measure(self) -> str:
        """What was compared; the same for all."""
        return self.standings[0].measure

    @property
    def panels(self) -> Mapping[str, Sequence[Standing]]:
        """What a picture shows: measure -> standings; first what was compared, then accuracy."""
        return {self.measure: self.standings, ACCURACY: self.by_accuracy}

    @property
    def by_student(self) -> bool:
        """Whether a teacher was judged by its student."""
        return bool(self.teachers)

    def searched(self, role: str) -> str:
        """Return the role that was searched, and by whom it was judged where that is another."""
        return f"{role} (judged by its student)" if self.by_student else role

    def title(self, name: str) -> str:
        """Return a candidate's name, with the rung that does the same where that is another."""
        rung = self.ladder.get(name, name)
        return name if rung == name else f"{name} ({rung})"


def read(path: Path, winner: str | None, measure: str | None) -> Final | None:
    """Read a search stage's final.csv; None: the search had no final.

    Args:
        path: Of the file.
        winner: Name of the candidate whose schedule was chosen; None: there was no final.
        measure: What was compared.

    Raises:
        InputError: The file is missing or lacks a column.
    """
    if winner is None:
        return None
    try:
        return of_rows(read_rows(path), winner, measure or ACCURACY)
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not the final of a search ({error}); run the search again"
        ) from error


def of_rows(rows: Sequence[Mapping[str, Any]], winner: str, measure: str) -> Final:
    """Return the final of these rows of `rolekd.search.history.final`, which may be text."""
    trainings = [
        CandidateTraining(
            int(row["rung"]),
            row["candidate"],
            int(row["seed"]),
            _number(row["accuracy"]),
            _number(row.get(LOG_LOSS)),
        )
        for row in rows
    ]
    teachers: dict[str, list[float]] = {}
    for row in rows:
        if (accuracy := _number(row.get(TEACHER_ACCURACY))) is not None:
            teachers.setdefault(row["candidate"], []).append(accuracy)
    return Final(
        standings(trainings, measure),
        standings(trainings, ACCURACY),
        winner,
        ladder={row["candidate"]: row["ladder"] for row in rows if row["ladder"]},
        predictors={name: found for name in PREDICTORS if (found := _measured(rows, name))},
        teachers=teachers,
    )


def _number(value: Any) -> float | None:
    return None if value in (None, "") else float(value)


def _measured(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    """Return candidate -> mean paired difference of a predictor; empty where it was not measured.

    A training whose loss became NaN has no measurement, so its pair is left out.
    """
    values: dict[tuple[str, Any], float] = {}
    for row in rows:
        if (value := _number(row.get(name))) is not None:
            values[row["candidate"], row["seed"]] = value
    pairs: dict[str, list[float]] = {}
    for (candidate, seed), value in values.items():
        if (NONE_CANDIDATE, seed) in values:
            pairs.setdefault(candidate, []).append(value - values[NONE_CANDIDATE, seed])
    return {candidate: fmean(found) for candidate, found in pairs.items()}


def agreements(final: Final) -> list[str]:
    """Say how well each predictor orders the candidates as their confirmed accuracy does."""
    gains = {one.name: one.gain for one in final.by_accuracy}
    said = []
    for name, measured in final.predictors.items():
        shared = [candidate for candidate in gains if candidate in measured]
        found = agreement([measured[c] for c in shared], [gains[c] for c in shared])
        if found is not None:
            rho, p_value = found
            said.append(
                f"Over {len(shared)} candidates {PREDICTORS[name]} and the confirmed accuracy "
                f"have Spearman's rho {rho:+.2f}, p = {p_value:.3f}."
            )
    return said


def final_rows(final: Final) -> list[dict[str, str]]:
    """Return a row for each candidate: its result, and its difference from none.

    The difference has its standard error, and an interval by Student's t over the seeds. Where a
    teacher is judged by its student, its own accuracy has a column.
    """
    rows = []
    scale = SCALES[final.measure]
    for one in final.standings:
        count = len(one.accuracies)
        gain = interval = p_value = ""
        if one.name != NONE_CANDIDATE:
            gain = scale.show(one.gain)
            if count > 1:
                gaps = np.array(one.differences)
                gain += f" ± {scale.show(one.error, sign=False)}"
                interval = " … ".join(map(scale.show, t_interval(gaps, CONFIDENCE)))
                p_value = f"{paired_p_value(gaps):.3f}"
        rows.append(
            {
                "candidate": final.title(one.name),
                "rung": str(one.rung + 1),
                "seeds": str(count),
                **_accuracies(final, one),
                f"{scale.unit} better than none": gain,
                "95 % interval": interval,
                "p": p_value,
                "": "taken" if one.name == final.winner else "",
            }
        )
    return rows


def _accuracies(final: Final, one: Standing) -> dict[str, str]:
    own = _spread([*one.accuracies.values()])
    if not final.by_student:
        return {"accuracy %": own}
    teachers = _spread(final.teachers.get(one.name, ()))
    return {"student's accuracy %": own, "teacher's accuracy %": teachers}


def _spread(accuracies: Sequence[float]) -> str:
    """Return mean and standard deviation in percent; empty if there are none."""
    percent = [100 * value for value in accuracies]
    mean = f"{fmean(percent):.2f}" if percent else ""
    return f"{mean} ± {stdev(percent):.2f}" if len(percent) > 1 else mean


def sentence(final: Final, role: str) -> str:
    """Say what won, and how sure that is."""
    role = final.searched(role)
    best = next((one for one in final.standings if one.name != NONE_CANDIDATE), None)
    if best is None:
        return f"The {role} gets no policy: there is no candidate that changes images."
    exact = "exact p" if len(best.differences) <= EXACT_PAIRS else "p"
    evidence = f"{best.evidence}, {exact} = {paired_p_value(np.array(best.differences)):.3f}"
    if final.winner == NONE_CANDIDATE:
        title = final.title(best.name)
        return f"The {role} gets no policy: the best candidate, {title}, is {evidence}."
    return f"The {role} gets {final.title(final.winner)}: {evidence}."


def caption(final: Final, role: str) -> str:
    """Say what `final_figure` shows."""
    return (
        f"Final of the {final.searched(role)}, decided by {final.measure.replace('_', ' ')}: "
        f"{' and '.join(_SHOWN[measure] for measure in final.panels)} better than none, over "
        "strength, with standard errors"
    )


def final_figure(final: Final) -> Figure:
    """Draw each candidate's difference from none over its strength, those without one at the right.

    What is not a rung by its name has it written beside it. A panel for each measure; a candidate's
    bar is one standard error each way.
    """
    count = len(final.panels)
    with style():
        drawn = Figure(figsize=(_WIDTH, 0.6 + _HEIGHT * count), layout="constrained")
        panels = drawn.subplots(count, sharex=True, squeeze=False)[:, 0]
        for axes, (measure, found) in zip(panels, final.panels.items(), strict=True):
            _draw(axes, final, found)
            axes.set_ylabel(f"{_SHOWN[measure]} better than none")
        panels[-1].set_xlabel("strength on the ladder; right of it: other schedules")
        panels[-1].set_xticks(range(0, ladder.HIGHEST + 1, 2))
        if panels[0].get_legend_handles_labels()[1]:
            panels[0].legend()
    return drawn


def _draw(axes: Axes, final: Final, shown: Sequence[Standing]) -> None:
    """Draw standings of a final into a panel."""
    groups = _groups(final, shown)
    axes.axhline(0, color=FAINT, linewidth=1)
    names = [name for name in ladder.FAMILIES if name in groups]
    at: list[tuple[float, Standing]] = []
    for place, name in enumerate(names):
        points = [
            # side by side where families have the same strength
            (strength + 0.15 * (place - (len(names) - 1) / 2), one)
            for strength, one in sorted(groups[name], key=lambda point: point[0])
        ]
        at += points
        # a family has the same colour for both roles
        shade, label = PALETTE[[*ladder.FAMILIES].index(name)], legible(name)
        xs, found = [x for x, _ in points], [one for _, one in points]
        _errorbar(axes, xs, found, fmt="o-", color=shade, label=label)
    others = [one for _, one in groups.get("", [])]
    places = [ladder.HIGHEST + 1.5 + place for place in range(len(others))]
    _errorbar(axes, places, others, fmt="s", color=FAINT)
    for x, one in [*at, *zip(places, others, strict=True)]:
        y = SCALES[one.measure].factor * one.gain
        if one.name != final.ladder.get(one.name):
            axes.annotate(legible(one.name), (x, y), (4, 4), textcoords="offset points", size=8)
        if one.name == final.winner:
            axes.scatter([x], [y], color=ACCENT, s=60, zorder=4, label="taken")
    axes.grid()


def _errorbar(
    axes: Axes, places: Sequence[float], found: Sequence[Standing], **options: Any
) -> None:
    factor = SCALES[found[0].measure].factor if found else 1.0
    errors = [factor * one.error if len(one.differences) > 1 else 0.0 for one in found]
    axes.errorbar(places, [factor * one.gain for one in found], errors, capsize=3, **options)


def _groups(final: Final, shown: Sequence[Standing]) -> Mapping[str, list[tuple[int, Standing]]]:
    """Return family of the ladder -> (strength, candidate); "": of no family."""
    groups: dict[str, list[tuple[int, Standing]]] = {}
    for one in shown:
        if one.name == NONE_CANDIDATE:
            continue
        rung = final.ladder.get(one.name)
        family, strength = ("", 0) if rung is None else ladder.parse(rung)
        groups.setdefault(family, []).append((strength, one))
    return groups
