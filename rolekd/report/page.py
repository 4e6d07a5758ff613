"""The report: one HTML page that opens anywhere, without a network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from rolekd.augment.schedule import Schedule, acts
from rolekd.display import shown
from rolekd.report import finals, findings, histories, plots, predictor
from rolekd.report.costs import Cost, cost_figure, surprises
from rolekd.report.finals import Final
from rolekd.report.genealogy import Ancestor
from rolekd.report.schedules import schedule_figure
from rolekd.report.style import colours, inline_svg
from rolekd.report.tables import Evaluation, per_class
from rolekd.report.terminal import cells
from rolekd.secrets import blanked

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class PageContent:
    """What the page shows; a part that is empty is left out.

    Attributes:
        dataset: name of the data.
        evaluation: the arms.
        schedules: role -> its schedule.
        searches: role -> history of its search.
        finals: role -> the final of its search.
        genealogies: role -> the line of its search's winner, oldest first.
        quality: findings about the data, as prepare writes them; with `warnings`.
        failures: of the run, a line each.
        costs: of the teacher and the exported student.
        curves: arm or "teacher" -> rows of its epochs.csv.
        sheet: sample images under each policy.
        mistakes: the most confident mistakes of the exported student.
        model: facts about the exported model.
        provenance: heading -> facts: versions, hashes, commit.
        params: the parameters of the run.
        written: when the run ended, as text.
        links: title -> address of a run or a model; addresses that are not http are shown as text.
        image_size: height and width of the images, pixels.
    """

    dataset: str
    evaluation: Evaluation
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    searches: Mapping[str, Sequence[histories.SearchRow]] = field(default_factory=dict)
    finals: Mapping[str, Final] = field(default_factory=dict)
    genealogies: Mapping[str, Sequence[Ancestor]] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    failures: Sequence[str] = ()
    costs: Sequence[Cost] = ()
    curves: Mapping[str, Rows] = field(default_factory=dict)
    sheet: Figure | None = None
    mistakes: Figure | None = None
    model: Mapping[str, object] = field(default_factory=dict)
    provenance: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    written: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    image_size: tuple[int, int] | None = None


def build(content: PageContent) -> str:
    """Return the page as HTML text: styles, figures and pictures are inside."""
    template = resources.files("rolekd.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        finalize=_harmless,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    evaluation = content.evaluation
    baseline = evaluation.arm(evaluation.baseline)
    return environment.from_string(template).render(
        content=content,
        evaluation=evaluation,
        baseline=baseline,
        plainly=findings.plainly(evaluation),
        headline=findings.headline(evaluation),
        surprises=surprises(content.costs, content.image_size),
        remarks=[one for one in findings.remarks(evaluation) if one not in content.failures],
        arms=[(arm, evaluation.describe(arm.name), *cells(arm)) for arm in evaluation.arms],
        per_class=_per_class(evaluation),
        figures=figures(content),
        idle=[role for role, schedule in content.schedules.items() if not acts(schedule)],
        predictions=_predictors(content),
        proposed=[role for role, rows in content.searches.items() if rows],
        finals={
            role: {
                "sentence": finals.sentence(one, role),
                "caption": finals.caption(one, role),
                "searched": one.searched(role),
                "by_student": one.by_student,
                "rows": finals.final_rows(one),
                "agreements": finals.agreements(one),
            }
            for role, one in content.finals.items()
        },
        params=_flat(blanked(content.params)),
    )


def figures(content: PageContent) -> dict[str, Markup]:
    """Return the page's figures by name, as SVG elements."""
    evaluation = content.evaluation
    baseline = evaluation.arm(evaluation.baseline)
    drawn: dict[str, tuple[Figure | None, str]] = {
        "accuracy": (plots.accuracy_figure(evaluation), "Test accuracy of each arm and seed"),
        "difference": (
            plots.difference_figure(evaluation),
            f"Difference of each arm from {evaluation.baseline}, with confidence intervals",
        ),
        "confusion": (
            plots.confusion_figure(baseline, evaluation.classes),
            f"Confusion matrix of {baseline.name}",
        ),
        "calibration": (
            plots.calibration_figure(evaluation, _compared(evaluation)),
            "Share of right predictions by confidence",
        ),
        "sheet": (content.sheet, "Sample images under each augmentation"),
        "mistakes": (content.mistakes, "The most confident mistakes of the exported student"),
    }
    drawn |= _optional_figures(content)
    return {
        name: Markup(inline_svg(figure, label))
        for name, (figure, label) in drawn.items()
        if figure is not None
    }


def _harmless(value: object) -> object:
    """Return what the template prints: our own figures as they are, others through `shown`."""
    return value if isinstance(value, Markup) else shown(value)


def _optional_figures(content: PageContent) -> dict[str, tuple[Figure | None, str]]:
    """Return name -> figure and its description, for the optional parts of the page."""
    drawn: dict[str, tuple[Figure | None, str]] = {}
    for role, rows in content.searches.items():
        if rows:
            figure = histories.search_figure(rows)
            drawn[f"search {role}"] = figure, f"Accuracy of every member of the {role}'s search"
    for role, final in content.finals.items():
        drawn[f"final {role}"] = finals.final_figure(final), finals.caption(final, role)
    if "student" in _predictors(content):
        drawn["predictor"] = (
            predictor.predictor_figure(content.searches["student"]),
            "Accuracy of each training of the student's search over the teacher's deviation",
        )
    if content.costs:
        drawn["costs"] = cost_figure(content.costs), "Accuracy over file size and latency"
    if content.curves:
        shades = colours(content.evaluation.compare)
        drawn["cross entropy"] = (
            histories.curves_figure(
                content.curves, "cross_entropy", "cross-entropy (nats)", 1, shades
            ),
            "Cross-entropy on the training images by epoch",
        )
        drawn["training accuracy"] = (
            histories.curves_figure(
                content.curves, "accuracy", "training accuracy (%)", 100, shades
            ),
            "Training accuracy by epoch",
        )
    if quantised := _with_levels(content.curves):
        drawn["levels changed"] = (
            histories.curves_figure(
                quantised, "levels_changed", "weights on another level (%)", 100, shades
            ),
            "Share of weights whose level changed, by epoch",
        )
    acting = {role: one for role, one in content.schedules.items() if acts(one)}
    if acting:
        drawn["schedules"] = schedule_figure(acting), "The learned schedules"
    return drawn


def _with_levels(curves: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return the trainings of low-bit networks: a teacher does not have levels."""
    return {
        arm: rows
        for arm, rows in curves.items()
        if rows and all(row.get("levels_changed") for row in rows)
    }


def _predictors(content: PageContent) -> dict[str, str]:
    """Return role -> what its search says about the teacher's standard deviation."""
    found = {role: predictor.correlate(rows) for role, rows in content.searches.items()}
    return {role: predictor.sentence(one) for role, one in found.items() if one is not None}


def _compared(evaluation: Evaluation) -> list[str]:
    """Return the arms whose calibration is drawn: without teacher, the question's, baseline."""
    arms, question = evaluation.compare.arms, evaluation.question()
    found = [name for name, arm in arms.items() if not arm.distilled][:1]
    found += [question.name] if question else []
    return list(dict.fromkeys([*found, evaluation.baseline]))


def _per_class(evaluation: Evaluation) -> list[tuple[object, ...]]:
    arm = evaluation.arm(evaluation.baseline)
    figures_of = per_class(arm.confusion)
    images = arm.confusion.sum(1) // len(arm.accuracies)
    return [
        (
            name,
            int(images[index]),
            *(f"{100 * column[index]:.1f}" for column in figures_of.values()),
        )
        for index, name in enumerate(evaluation.classes)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat
