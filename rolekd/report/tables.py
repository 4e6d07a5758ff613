"""Numbers of an evaluation: results of each arm, and differences between arms.

Pure functions of arrays. Accuracies are fractions in 0..1 here and in the files; percent and
percentage points are for people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rolekd.augment import named
from rolekd.errors import InputError
from rolekd.outputs import ArmRow, Arms
from rolekd.params import CompareParams
from rolekd.report.statistics import detectable, holm, paired_p_value, two_way_interval

CALIBRATION_BINS = 15
CONFIDENCE = 0.95

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Difference:
    """Accuracy of an arm minus the baseline's, over paired seeds.

    Seeds are pairs because the same seed gives both arms the same teacher, start and order of
    images. With one seed, or where no seed differs, all but the mean are None.

    Attributes:
        mean: Of the pairs.
        low, high: 95 % interval over seeds and test images, by the bootstrap; see
            `rolekd.report.statistics`, as for what follows.
        p_value: Exact, by the signs of the pairs.
        adjusted: The same, adjusted for the number of arms that are compared.
        detectable: The true difference that as many seeds would find four times in five, the
            number of comparisons considered; infinite: none.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    adjusted: float | None = None
    detectable: float | None = None

    @property
    def is_clear(self) -> bool:
        """Return whether it is unlikely to be chance, of the seeds or of the test images.

        p is of the seeds, and considers the number of comparisons; the interval is of both.
        """
        if self.adjusted is None or self.low is None or self.high is None:
            return False
        return self.adjusted < 1 - CONFIDENCE and self.excludes_zero

    @property
    def excludes_zero(self) -> bool:
        """Return whether there is an interval that does not contain zero."""
        return self.low is not None and self.high is not None and self.low * self.high > 0


@dataclass(frozen=True)
class Arm:
    """One arm of the comparison.

    Attributes:
        name: the arm.
        accuracies: test accuracy of each seed.
        mean, deviation: over the seeds; the deviation (n - 1) is None for one seed.
        difference: to the baseline; None for the baseline itself.
        calibration_error: expected calibration error, mean over the seeds.
        confusion: [classes, classes] counts, row: true class, column: predicted, over all seeds.
        calibration: reliability bins over all seeds.
        collapsed: seeds whose student says one class for every image.
    """

    name: str
    accuracies: tuple[float, ...]
    mean: float
    deviation: float | None
    difference: Difference | None
    calibration_error: float
    confusion: Integers
    calibration: "Calibration"
    collapsed: tuple[int, ...] = ()

    def row(self) -> ArmRow:
        """Return the arm's line of the table."""
        difference = self.difference
        return ArmRow(
            arm=self.name,
            test_accuracy=self.mean,
            test_accuracy_sd=self.deviation,
            difference=difference.mean if difference else None,
            difference_low=difference.low if difference else None,
            difference_high=difference.high if difference else None,
            p_value=difference.p_value if difference else None,
            p_value_adjusted=difference.adjusted if difference else None,
            calibration_error=self.calibration_error,
            seeds=len(self.accuracies),
            test_accuracies=list(self.accuracies),
        )


@dataclass(frozen=True)
class Calibration:
    """Reliability of the confidence (the largest probability) in bins of equal width.

    Attributes:
        edges: [bins + 1] limits of the bins; a bin holds low < confidence <= high.
        count: [bins] predictions.
        confidence, accuracy: [bins] means in each bin; 0 in empty ones.
    """

    edges: Floats
    count: Integers
    confidence: Floats
    accuracy: Floats

    @property
    def error(self) -> float:
        """Expected calibration error: mean |accuracy - confidence| over the predictions."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((self.count * gaps).sum() / self.count.sum())


@dataclass(frozen=True)
class Evaluation:
    """The arms on one test set; `compare` says what each is."""

    classes: tuple[str, ...]
    images: int
    compare: CompareParams
    arms: tuple[Arm, ...]

    @property
    def baseline(self) -> str:
        """Name of the arm that the others are compared with."""
        return self.compare.baseline

    def arm(self, name: str) -> Arm:
        """Return an arm by its name."""
        return next(arm for arm in self.arms if arm.name == name)

    def label(self, name: str) -> str:
        """Return an arm's name in sentences."""
        return self.compare.arms[name].label or self.describe(name)

    def describe(self, name: str) -> str:
        """Return a description of an arm, including what only some arms have."""
        arm, arms = self.compare.arms[name], self.compare.arms.values()
        facts = ["distilled" if arm.distilled else "not distilled"]
        if len({one.teacher for one in arms}) > 1:
            facts.append(f"{arm.teacher} teacher")
        if len({one.starts_from for one in arms}) > 1:
            starts = {"teacher": "from the teacher's weights", "scratch": "from scratch"}
            facts.append(starts[arm.starts_from])
        return ", ".join([*facts, named.describe(arm.augmentation)])

    def question(self) -> Arm | None:
        """Return the arm that differs from the baseline only in whose schedule it uses, if any.

        Roles matter if the student's own schedule, the baseline's, beats the teacher's.
        """
        baseline = self.compare.arms[self.baseline]
        if baseline.augmentation != named.STUDENT_SCHEDULE:
            return None
        twin = baseline.model_copy(update={"augmentation": named.TEACHER_SCHEDULE})
        facts = {"label"}
        return next(
            (
                self.arm(name)
                for name, arm in self.compare.arms.items()
                if arm.model_dump(exclude=facts) == twin.model_dump(exclude=facts)
            ),
            None,
        )

    def table(self) -> Arms:
        """Return the table of the arms, as a file has it."""
        return Arms(
            baseline=self.baseline,
            exported=self.compare.export,
            images=self.images,
            confidence=CONFIDENCE,
            arms=[arm.row() for arm in self.arms],
        )

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return the few numbers per arm that DVC and MLflow compare between runs."""
        return {
            arm.name: {"accuracy": arm.mean, "calibration_error": arm.calibration_error}
            for arm in self.arms
        }


def summarise(
    logits: Mapping[str, Floats],
    labels: Integers,
    classes: Sequence[str],
    compare: CompareParams,
) -> Evaluation:
    """Evaluate every arm on the same test images.

    Args:
        logits: arm -> [seeds, images, classes]; the i-th seed of all arms is the same seed.
        labels: [images] true classes.
        classes: names of the classes.
        compare: the arms, and the baseline.

    Raises:
        InputError: an array has another shape, is not finite, or the arms differ.
    """
    labels = np.asarray(labels)
    baseline = compare.baseline
    if logits.keys() != compare.arms.keys():
        raise InputError(
            f"evaluate: there are predictions of {', '.join(logits) or 'no arm'}, but the arms of "
            f"params.yaml are {', '.join(compare.arms)}; dvc repro evaluate"
        )
    seeds = len(logits[baseline])
    for name, array in logits.items():
        wanted = (seeds, len(labels), len(classes))
        if array.shape != wanted or seeds == 0:
            raise InputError(
                f"evaluate: logits of arm {name!r} have shape {array.shape} instead of {wanted} "
                "(seeds, images, classes); run its stage again"
            )
        if not np.isfinite(array).all():
            raise InputError(f"evaluate: logits of arm {name!r} are not finite; train it again")
    reference = logits[baseline].argmax(-1) == labels
    arms = tuple(
        _arm(name, array, labels, None if name == baseline else reference, len(logits) - 1)
        for name, array in logits.items()
    )
    return Evaluation(tuple(classes), len(labels), compare, _adjusted(arms))


def _adjusted(arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
    """Give every difference its p value adjusted for the number of differences."""
    p_values = {
        arm.name: arm.difference.p_value
        for arm in arms
        if arm.difference is not None and arm.difference.p_value is not None
    }
    found = dict(zip(p_values, holm([*p_values.values()]), strict=True))
    return tuple(
        replace(arm, difference=replace(arm.difference, adjusted=found[arm.name]))
        if arm.difference is not None and arm.name in found
        else arm
        for arm in arms
    )


def _arm(
    name: str,
    logits: Floats,
    labels: Integers,
    reference: NDArray[np.bool_] | None,
    comparisons: int,
) -> Arm:
    right = logits.argmax(-1) == labels
    values = right.mean(-1)
    repeated = np.broadcast_to(labels, logits.shape[:2])
    return Arm(
        name=name,
        accuracies=tuple(values.tolist()),
        mean=float(values.mean()),
        deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
        difference=None if reference is None else paired_difference(right, reference, comparisons),
        calibration_error=float(np.mean([calibration(one, labels).error for one in logits])),
        confusion=confusion(logits.argmax(-1), repeated, logits.shape[-1]),
        calibration=calibration(logits.reshape(-1, logits.shape[-1]), repeated.reshape(-1)),
        collapsed=collapsed(logits, labels),
    )


def collapsed(logits: Floats, labels: Integers) -> tuple[int, ...]:
    """Return the seeds that say one class for images of several; [seeds, ...]."""
    if len(np.unique(labels)) < 2:
        return ()
    return tuple(
        seed for seed, predicted in enumerate(logits.argmax(-1)) if len(np.unique(predicted)) == 1
    )


def paired_difference(
    right: NDArray[Any], reference: NDArray[Any], comparisons: int = 1
) -> Difference:
    """Compare two arms seed by seed and image by image.

    Args:
        right: [seeds, images], whether an image is right, or a mean of that over several networks.
        reference: The same of the other arm.
        comparisons: Of how many this is one, which p must be adjusted for.
    """
    each = np.asarray(right, np.float64) - np.asarray(reference, np.float64)
    gaps = each.mean(1)
    mean = float(gaps.mean())
    if len(gaps) < 2 or not gaps.any():
        return Difference(mean)
    return Difference(
        mean,
        *two_way_interval(each, CONFIDENCE),
        p_value=paired_p_value(gaps),
        detectable=detectable(gaps, (1 - CONFIDENCE) / comparisons),
    )


def confusion(predicted: Integers, labels: Integers, classes: int) -> Integers:
    """Return counts [classes, classes]; row: true class, column: predicted class."""
    pairs = np.asarray(labels).reshape(-1) * classes + np.asarray(predicted).reshape(-1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def probabilities(logits: Floats) -> NDArray[np.float64]:
    """Return the softmax over the last axis, in double precision."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(-1, keepdims=True))
    share: NDArray[np.float64] = powers / powers.sum(-1, keepdims=True)
    return share


def calibration(logits: Floats, labels: Integers, bins: int = CALIBRATION_BINS) -> Calibration:
    """Sort predictions into bins by confidence. Logits [images, classes].

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    sure = probabilities(logits).max(-1)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = np.maximum(count, 1)
    right = (logits.argmax(-1) == labels).astype(np.float64)
    return Calibration(
        edges=edges,
        count=count,
        confidence=np.bincount(place, sure, bins) / filled,
        accuracy=np.bincount(place, right, bins) / filled,
    )


def per_class(counts: Integers) -> dict[str, Floats]:
    """Return precision, recall and F1 of each class from a confusion matrix.

    A class that was never predicted has precision 0, one without images recall 0.
    """
    hits = np.diag(counts).astype(np.float64)
    predicted, true = counts.sum(0), counts.sum(1)
    return {
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(true, 1),
        "f1": 2 * hits / np.maximum(predicted + true, 1),
    }
