"""Where a run failed, in sentences: what went wrong, by which number, and the remedy.

A comparison of arms is meaningless if their networks did not learn. Each line is one failure.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np

from rolekd.data.dataset import Dataset
from rolekd.errors import few
from rolekd.params import Params, Role, TeacherName, teacher_name
from rolekd.report import exact, findings
from rolekd.report.tables import CONFIDENCE, Evaluation, Floats, Integers
from rolekd.sources.splits import redrawn_sizes

# of the way from naming the largest class to all training images right
_HALF_WAY = 0.5
# of the highest learning rate, at the end of a training
_FELL = 0.5
# percentage points: a search that cannot distinguish larger differences from chance is useless
_COARSEST = 10.0
_USUAL_ACCURACY = 0.9  # for that: the accuracies whose differences are meant


@dataclass(frozen=True)
class RunFacts:
    """The outputs of a run in which failures show.

    Attributes:
        params: Of the run.
        dataset: Its data.
        evaluation: The arms on the test images.
        students: Arm -> logits [seeds, images, classes].
        teachers: Name -> logits [images, classes].
        epochs: Arm, or a teacher's name in tables of arms -> rows of its epochs.
        searched: Roles whose schedules were searched.
    """

    params: Params
    dataset: Dataset
    evaluation: Evaluation
    students: Mapping[str, Floats]
    teachers: Mapping[TeacherName, Floats]
    epochs: Mapping[str, Sequence[Mapping[str, Any]]]
    searched: Sequence[Role]

    @property
    def labels(self) -> Integers:
        """The classes of the test images."""
        return self.dataset.split("test")[1]


def failures(run: RunFacts) -> list[str]:
    """Return a line for each failure; usually none."""
    return [
        *_teachers_at_chance(run),
        *findings.collapses(run.evaluation),
        *_students_at_chance(run),
        *_worse_teacher(run),
        *_little_learned(run),
        *_constant_rates(run),
        *_few_validation_images(run),
    ]


def _teachers_at_chance(run: RunFacts) -> Iterator[str]:
    for name, logits in run.teachers.items():
        predicted, shown = logits.argmax(-1), _capital(teacher_name(name))
        remedy = "lower teacher.training.learning_rate, or raise teacher.training.epochs"
        if len(np.unique(predicted)) == 1 < len(np.unique(run.labels)):
            yield f"{shown}: collapsed to one class, and cannot teach; {remedy}."
        elif _is_at_chance(run, predicted):
            found = f"{100 * np.mean(predicted == run.labels):.1f} %"
            yield f"{shown}: {found}, {_chance(run)}, and cannot teach; {remedy}."


def _students_at_chance(run: RunFacts) -> Iterator[str]:
    for arm in run.evaluation.arms:
        predicted = run.students[arm.name].argmax(-1)
        seeds = [
            seed
            for seed, one in enumerate(predicted)
            if seed not in arm.collapsed and _is_at_chance(run, one)
        ]
        if seeds:
            yield (
                f"{arm.name}: {100 * arm.mean:.1f} %, {_chance(run)}, with {len(seeds)} of "
                f"{len(predicted)} seeds; lower student.training.learning_rate, raise "
                "student.training.epochs or student.bits, or check the labels."
            )


def _is_at_chance(run: RunFacts, predicted: Integers) -> bool:
    return exact.chance_p_value(predicted == run.labels, run.labels) >= 1 - CONFIDENCE


def _chance(run: RunFacts) -> str:
    share = exact.largest_share(run.labels)
    return f"not clearly above the {100 * share:.1f} % of naming the largest class"


def _worse_teacher(run: RunFacts) -> Iterator[str]:
    """Compare the exported student, its arm's first seed, with the teacher that it learned from."""
    compare = run.params.compare
    name = run.evaluation.compare.export
    arm = compare.arms[name]
    if not arm.distilled or arm.teacher not in run.teachers:
        return
    student, teacher = (
        one.argmax(-1) == run.labels for one in (run.students[name][0], run.teachers[arm.teacher])
    )
    p_value = exact.worse_p_value(teacher, student)
    if p_value < 1 - CONFIDENCE:
        yield (
            f"{_capital(teacher_name(arm.teacher))}: {100 * teacher.mean():.1f} %, clearly below "
            f"its student {name} with {100 * student.mean():.1f} % (exact paired test, p = "
            f"{p_value:.2g}), and holds it back; raise teacher.training.epochs, or choose a larger "
            "teacher.model."
        )


def _little_learned(run: RunFacts) -> Iterator[str]:
    base = exact.largest_share(run.dataset.split("train")[1])
    least = base + _HALF_WAY * (1 - base)
    for role, names in _trained(run).items():
        last = {name: _last(run.epochs[name], "accuracy") for name in names if run.epochs.get(name)}
        low = {name: value for name, value in last.items() if value is not None and value < least}
        if low:
            found = few([f"{name} {100 * value:.0f} %" for name, value in low.items()])
            epochs = getattr(run.params, role).training.epochs
            yield (
                f"Training accuracy of the {role} far below 100 % after {epochs} epochs "
                f"({found}; half-way from chance is {100 * least:.0f} %): raise "
                f"{role}.training.epochs, choose a larger {role}.model, or use weaker augmentation."
            )


def _constant_rates(run: RunFacts) -> Iterator[str]:
    for role, names in _trained(run).items():
        training = getattr(run.params, role).training
        rates = [_last(run.epochs.get(name, ()), "learning_rate") for name in names]
        if any(rate is not None and rate > _FELL * training.learning_rate for rate in rates):
            yield (
                f"The learning rate of the {role} never fell: {training.epochs} epochs with "
                f"lr_schedule {training.lr_schedule}; raise {role}.training.epochs, or set "
                f"{role}.training.lr_schedule to one-cycle or cosine."
            )


def _few_validation_images(run: RunFacts) -> Iterator[str]:
    if not run.searched:
        return
    dataset, final = run.dataset, run.params.search.confirm
    images, seeds = len(dataset.splits["search_val"]), 1
    if final is not None:
        _, images = redrawn_sizes(dataset, final.validation_fraction)
        seeds = final.seeds
    variance = 2 * _USUAL_ACCURACY * (1 - _USUAL_ACCURACY) / max(images * seeds, 1)
    points = 200 * math.sqrt(variance)
    if points > _COARSEST:
        times = "once" if seeds == 1 else f"{seeds} times"
        key = "search.confirm.validation_fraction" if final else "data.search_validation_fraction"
        by_loss = final is not None and final.measure == "log_loss"
        so = "log loss shows only somewhat smaller ones" if by_loss else "the choice is arbitrary"
        own = dataset.own_validation
        remedy = "add validation images" if own else f"raise {key}, or add images"
        yield (
            f"The searches measured on {images} validation images, {times} each: differences "
            f"in accuracy below about {points:.0f} points are noise, and {so}; {remedy}, or "
            "compare arms without a search."
        )


def _trained(run: RunFacts) -> dict[Role, list[str]]:
    """Return role -> names of its trainings in the epochs."""
    return {
        "teacher": [teacher_name(name) for name in run.teachers],
        "student": list(run.students),
    }


def _last(rows: Sequence[Mapping[str, Any]], column: str) -> float | None:
    """Return the mean over the seeds of a column in the last epoch; None if it is missing."""
    if not rows or not rows[0].get(column):
        return None
    end = max(int(row["epoch"]) for row in rows)
    return mean(float(row[column]) for row in rows if int(row["epoch"]) == end)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
