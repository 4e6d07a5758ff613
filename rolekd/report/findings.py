"""What the numbers say, in sentences: computed, whichever way they point."""

from rolekd.report.tables import Arm, Evaluation

_NAMES = {
    "plain": "the same student without distillation",
    "kd": "distillation without a learned policy",
    "kd-randaugment": "distillation with RandAugment",
    "kd-trivialaugment": "distillation with TrivialAugment",
    "kd-shared": "distillation with the teacher's schedule",
    "kd-rolewise": "role-wise augmentation",
}
_QUESTION = "kd-shared"  # roles matter if the student's own schedule beats the teacher's
_TIE = 1e-9  # means of the same counts in another order differ by rounding


def headline(evaluation: Evaluation) -> str:
    """Return the answer to the question of the method in one sentence."""
    names = [arm.name for arm in evaluation.arms]
    if evaluation.baseline != "kd-rolewise" or _QUESTION not in names:
        best = max(evaluation.arms, key=lambda arm: arm.mean)
        return f"Highest mean accuracy: {_name(best)}, {100 * best.mean:.1f} %."
    return _verdict(evaluation.arm(_QUESTION))


def remarks(evaluation: Evaluation) -> list[str]:
    """Return what else a careful reader should know, one sentence each."""
    baseline = evaluation.arm(evaluation.baseline)
    seeds = len(baseline.accuracies)
    others = [arm for arm in evaluation.arms if arm.difference is not None]
    lines = [_place(evaluation), *_groups(others), *_twins(evaluation.arms)]
    if seeds == 1:
        lines.append("One seed only: no interval can be given, and differences may be chance.")
    else:
        lines.append(
            f"The intervals come from {seeds} paired seeds (Student's t, {seeds - 1} degrees of "
            "freedom); they cover the randomness of training, not that of the test images"
            + (
                f", and the {len(others)} comparisons are not corrected for their number."
                if others
                else "."
            )
        )
    step = 100 / evaluation.images
    lines.append(f"One test image more or less is {step:.2f} points.")
    return lines


def _verdict(shared: Arm) -> str:
    """Say whether the student's own schedule beats the teacher's."""
    gap = shared.difference
    assert gap is not None
    size = f"{abs(100 * gap.mean):.1f} points"
    if gap.low is None or gap.high is None:
        side = "more" if gap.mean < 0 else "less" if gap.mean > 0 else "the same"
        return (
            f"The student's own schedule gave {side} accuracy than the teacher's "
            f"({size}); these runs cannot say whether that is chance."
            if gap.mean
            else "The student's own schedule and the teacher's gave the same accuracy."
        )
    interval = f"95 % interval {_points(-gap.high)} to {_points(-gap.low)}"
    if not gap.is_clear:
        return (
            "These runs do not tell the student's own schedule from the teacher's: "
            f"{_points(-gap.mean)} points, {interval}."
        )
    verb = "beat" if gap.mean < 0 else "lost to"
    return f"The student's own schedule {verb} the teacher's by {size} ({interval})."


def _place(evaluation: Evaluation) -> str:
    baseline = evaluation.arm(evaluation.baseline)
    others = [arm for arm in evaluation.arms if arm is not baseline]
    better = [arm for arm in others if arm.mean > baseline.mean + _TIE]
    equal = [_name(arm) for arm in others if abs(arm.mean - baseline.mean) <= _TIE]
    text = (
        f"{_name(baseline).capitalize()} reached {100 * baseline.mean:.1f} % on "
        f"{evaluation.images} test images, place {len(better) + 1} of {len(evaluation.arms)}"
    )
    if equal:
        text += f" with {_list(equal)}"
    if not better:
        return text + "."
    best = max(better, key=lambda arm: arm.mean)
    return f"{text}; the highest mean has {_name(best)}, {100 * best.mean:.1f} %."


def _points(share: float) -> str:
    """Return a difference in percentage points, with its sign; none is +0.0, never -0.0."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def _groups(others: list[Arm]) -> list[str]:
    """Sort the arms into clearly worse, clearly better and not told apart."""
    worse = [_name(a) for a in others if a.difference and a.difference.is_clear
             and a.difference.mean < 0]  # fmt: skip
    better = [_name(a) for a in others if a.difference and a.difference.is_clear
              and a.difference.mean > 0]  # fmt: skip
    open_ = [_name(a) for a in others if a.difference and not a.difference.is_clear]
    lines = []
    if worse:
        lines.append(f"Clearly below the baseline: {_list(worse)}.")
    if better:
        lines.append(f"Clearly above the baseline: {_list(better)}.")
    if open_:
        lines.append(f"Not told apart from it by these seeds: {_list(open_)}.")
    return lines


def _twins(arms: tuple[Arm, ...]) -> list[str]:
    """Name arms whose predictions agree in every count: their training was one and the same."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for arm in arms:
        key = (arm.accuracies, arm.confusion.tobytes(), arm.calibration_error)
        groups.setdefault(key, []).append(_name(arm))
    return [
        f"{_list(names).capitalize()} gave the same predictions: they augmented alike."
        for names in groups.values()
        if len(names) > 1
    ]


def _name(arm: Arm) -> str:
    return _NAMES.get(arm.name, arm.name)


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
