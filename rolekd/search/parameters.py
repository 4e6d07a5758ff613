"""A policy as the parameters of a trial, which Optuna's plots and its dashboard analyse."""

from collections.abc import Iterable, Mapping

from optuna.distributions import IntDistribution, distribution_to_json

from rolekd.augment import ladder
from rolekd.augment.policy import describe
from rolekd.errors import InputError
from rolekd.search.population import LARGEST, Task

# name -> distribution, of the 60 integers in their order
SPACE: Mapping[str, IntDistribution] = {
    f"{index:02} {describe(index)}": IntDistribution(0, largest)
    for index, largest in enumerate(LARGEST)
}


def of(task: Task) -> Iterable[tuple[str, float, str]]:
    """Yield name, value and distribution as JSON: of the policy, and of a rung of the ladder."""
    for (name, distribution), value in zip(SPACE.items(), task.policy, strict=True):
        yield name, float(value), distribution_to_json(distribution)
    if task.candidate is None:
        return
    try:
        family, strength = ladder.parse(task.candidate.name)
    except InputError:
        return
    whole = distribution_to_json(IntDistribution(0, ladder.HIGHEST))
    yield f"strength of {family}", float(strength), whole
