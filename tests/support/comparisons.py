"""Comparisons of the arms that a test names."""

from collections.abc import Iterable

from rolekd.params import ArmParams, CompareParams, Params

OWN = ArmParams(distilled=True, augmentation="none", teacher="searched", starts_from="teacher")


def comparing(names: Iterable[str], baseline: str = "kd-rolewise") -> CompareParams:
    """Return a comparison of arms of the default run; other names are arms of a user's own."""
    known = Params().compare.arms
    arms = {name: known.get(name, OWN) for name in names}
    return CompareParams(baseline=baseline, export=baseline, arms=arms)
