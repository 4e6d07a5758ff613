"""The rule by which PBT explores: how a copied policy moves.

Standard library only. Method: Ho et al. 2019 (PBA), with the numbers of Fu et al. 2020, which are
keys of `search` in params.yaml.
"""

import random
from typing import TYPE_CHECKING

from rolekd.augment.policy import LENGTH, MAX_MAGNITUDE, MAX_PROBABILITY

if TYPE_CHECKING:
    from rolekd.params import SearchParams

PolicyIntegers = tuple[int, ...]

# The largest value of each of a policy's 60 integers: 30 pairs of probability, magnitude.
LARGEST: PolicyIntegers = (MAX_PROBABILITY, MAX_MAGNITUDE) * (LENGTH // 2)


def explore(
    settings: "SearchParams", policy: PolicyIntegers, stream: random.Random
) -> PolicyIntegers:
    """Move a copied policy: each integer is drawn anew, or takes a step, within its range."""
    return tuple(
        _explored(settings, value, largest, stream)
        for value, largest in zip(policy, LARGEST, strict=True)
    )


def _explored(settings: "SearchParams", value: int, largest: int, stream: random.Random) -> int:
    if stream.random() < settings.resample_probability:
        return stream.randrange(largest + 1)
    step = stream.randrange(settings.max_step + 1)
    moved = value + step if stream.random() < 0.5 else value - step
    return min(max(moved, 0), largest)
