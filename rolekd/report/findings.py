"""What the numbers say, in sentences, whichever way they point."""

from rolekd.report.tables import CONFIDENCE, Arm, Evaluation

_TIE = 1e-9  # means of the same counts in another order differ by rounding


def headline(evaluation: Evaluation) -> str:
    """Return the answer to the question of the method in one sentence."""
    question = evaluation.question()
    if question is not None:
        return _verdict(question)
    best = max(evaluation.arms, key=lambda arm: arm.mean)
    return f"Highest mean accuracy: {evaluation.label(best.name)}, {100 * best.mean:.1f} %."


def plainly(evaluation: Evaluation) -> str:
    """Return the result in one plain sentence, before any statistics.

    An arm is the winner if its mean is the highest and its differences are clear.
    """
    seeds = len(evaluation.arm(evaluation.baseline).accuracies)
    means = [100 * arm.mean for arm in evaluation.arms]
    best = max(evaluation.arms, key=lambda arm: arm.mean)
    count = len(evaluation.arms)
    over = f"{seeds} {'seed' if seeds == 1 else 'seeds'}"
    if count == 1:
        return f"One student, {means[0]:.1f} % right, {over}."
    if _wins(evaluation, best):
        return (
            f"{_sentence(evaluation.label(best.name))} wins: {100 * best.mean:.1f} %, "
            f"{max(means) - min(means):.1f} points above the last of {count}, {over}."
        )
    return f"No clear winner: {count} students within {max(means) - min(means):.1f} points, {over}."


def _wins(evaluation: Evaluation, best: Arm) -> bool:
    """Return whether the arm with the highest mean is clearly above all others.

    Differences are known from the baseline only: another arm wins if it is the only one clearly
    above the baseline.
    """
    others = [arm.difference for arm in evaluation.arms if arm.difference is not None]
    if best.name == evaluation.baseline:
        return all(gap.is_clear and gap.mean < 0 for gap in others)
    return [gap for gap in others if gap.is_clear and gap.mean > 0] == [best.difference]


def remarks(evaluation: Evaluation) -> list[str]:
    """Return further facts for a careful reader, one sentence each."""
    baseline = evaluation.arm(evaluation.baseline)
    seeds = len(baseline.accuracies)
    others = [arm for arm in evaluation.arms if arm.difference is not None]
    lines = [_place(evaluation), *collapses(evaluation)]
    lines += [*_groups(evaluation, others), *_twins(evaluation)]
    if seeds == 1:
        lines.append("One seed only: no interval can be given, and differences may be chance.")
    else:
        lines.append(
            f"An interval covers other seeds and other test images "
            f"(bootstrap); p is how often chance alone gives as much (exact, over {seeds} paired "
            "seeds)" + _correction(len(others), seeds)
        )
    step = 100 / evaluation.images
    lines.append(f"One test image more or less is {step:.2f} points.")
    return lines


def _correction(comparisons: int, seeds: int) -> str:
    """Say how the number of comparisons changes the p values, and whether any can be small."""
    if not comparisons:
        return "."
    text = f"; it is adjusted (Holm) for {comparisons} comparisons" if comparisons > 1 else ""
    least = comparisons * 2 ** (1 - seeds)
    if least < 1 - CONFIDENCE:
        return f"{text}."
    return f"{text}; with so few seeds it cannot fall below {min(least, 1):.2g}: use more seeds."


def collapses(evaluation: Evaluation) -> list[str]:
    """Name the collapsed students, which say the same class for every image."""
    return [
        f"{_sentence(evaluation.label(arm.name))}: collapsed to one class with "
        f"{'seed' if len(arm.collapsed) == 1 else 'seeds'} {_list([*map(str, arm.collapsed)])}, "
        f"{len(arm.collapsed)} of {len(arm.accuracies)}; lower student.training.learning_rate or "
        "raise student.bits."
        for arm in evaluation.arms
        if arm.collapsed
    ]


def _verdict(shared: Arm) -> str:
    """Say whether the student's own schedule beats the teacher's."""
    gap = shared.difference
    assert gap is not None
    size = f"{abs(100 * gap.mean):.1f} points"
    if gap.low is None or gap.high is None:
        side = "more" if gap.mean < 0 else "less" if gap.mean > 0 else "the same"
        return (
            f"The student's own schedule gave {side} accuracy than the teacher's "
            f"({size}); these runs cannot say whether this is chance."
            if gap.mean
            else "The student's own schedule and the teacher's gave the same accuracy."
        )
    interval = f"95 % interval {_points(-gap.high)} to {_points(-gap.low)}, p = {gap.p_value:.2g}"
    # the question that the runs were made for: not adjusted for the other arms
    if gap.p_value is None or gap.p_value >= 1 - CONFIDENCE or not gap.excludes_zero:
        return (
            "These runs cannot distinguish the student's own schedule from the teacher's: "
            f"{_points(-gap.mean)} points, {interval}."
        )
    verb = "beat" if gap.mean < 0 else "lost to"
    return f"The student's own schedule {verb} the teacher's by {size} ({interval})."


def _place(evaluation: Evaluation) -> str:
    baseline = evaluation.arm(evaluation.baseline)
    others = [arm for arm in evaluation.arms if arm is not baseline]
    better = [arm for arm in others if arm.mean > baseline.mean + _TIE]
    label = evaluation.label
    equal = [label(arm.name) for arm in others if abs(arm.mean - baseline.mean) <= _TIE]
    text = (
        f"{_sentence(label(baseline.name))} reached {100 * baseline.mean:.1f} % on "
        f"{evaluation.images} test images and ranks {_ordinal(len(better) + 1)} of "
        f"{len(evaluation.arms)}"
    )
    if equal:
        text += f", together with {_list(equal)}"
    if not better:
        return text + "."
    best = max(better, key=lambda arm: arm.mean)
    return f"{text}; {label(best.name)} has the highest mean, {100 * best.mean:.1f} %."


def _ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd, 4th, 11th, 21st..."""
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if 10 <= number % 100 <= 20 else ends.get(number % 10, 'th')}"


def _points(share: float) -> str:
    """Return a difference in percentage points, with its sign; none is +0.0, never -0.0."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def _groups(evaluation: Evaluation, others: list[Arm]) -> list[str]:
    """Sort the arms into clearly worse, clearly better and indistinguishable."""
    sides: dict[str, list[str]] = {"below": [], "above": [], "open": []}
    for arm in others:
        assert arm.difference is not None
        side = "below" if arm.difference.mean < 0 else "above"
        label = evaluation.label(arm.name)
        sides[side if arm.difference.is_clear else "open"].append(label)
    worse, better, open_ = sides.values()
    lines = []
    if worse:
        lines.append(f"Clearly below the baseline: {_list(worse)}.")
    if better:
        lines.append(f"Clearly above the baseline: {_list(better)}.")
    if open_:
        lines.append(
            "Not distinguishable from the baseline with these seeds: "
            f"{_list(open_)}{_power(others)}."
        )
    return lines


def _power(others: list[Arm]) -> str:
    """Say how large a difference must be to be found among indistinguishable arms."""
    found = [
        arm.difference.detectable
        for arm in others
        if arm.difference is not None
        and arm.difference.detectable is not None
        and not arm.difference.is_clear
    ]
    if not found:
        return ""
    if max(found) == float("inf"):
        return "; the seeds are too few to distinguish any of so many"
    return f"; the seeds find a true difference of {100 * max(found):.1f} points four times in five"


def _twins(evaluation: Evaluation) -> list[str]:
    """Name arms whose predictions agree in every count: their trainings were the same."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for arm in evaluation.arms:
        key = (arm.accuracies, arm.confusion.tobytes(), arm.calibration_error)
        groups.setdefault(key, []).append(evaluation.label(arm.name))
    return [
        f"{_sentence(_list(names))} gave the same predictions: their augmentation was the same."
        for names in groups.values()
        if len(names) > 1
    ]


def _sentence(text: str) -> str:
    """Return a text with a capital first letter and the rest unchanged."""
    return text[:1].upper() + text[1:]


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
