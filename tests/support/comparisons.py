"""Comparisons of the arms that a test names."""

import io
from collections.abc import Iterable

from rolekd.console import console
from rolekd.params import ArmParams, CompareParams, Params
from rolekd.report.tables import Evaluation
from rolekd.report.terminal import arms_table

OWN = ArmParams(distilled=True, augmentation="none", teacher="searched", starts_from="teacher")


def comparing(names: Iterable[str], baseline: str = "kd-rolewise") -> CompareParams:
    """Return a comparison of arms of the default run; other names are arms of a user's own."""
    known = Params().compare.arms
    arms = {name: known.get(name, OWN) for name in names}
    return CompareParams(baseline=baseline, export=baseline, arms=arms)


def printed(evaluation: Evaluation, width: int = 110) -> str:
    """Return the table of the arms as a terminal of this width shows it."""
    text = io.StringIO()
    console(file=text, width=width).print(arms_table(evaluation, width))
    return text.getvalue()
