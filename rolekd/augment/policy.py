"""A policy: 60 integers that say which operations act on an image, how often and how strongly.

Two copies of 15 `[probability, magnitude]` pairs, in the order of the released files (the source
text of the authors' code has another order; reading in the wrong one gives no error).
Standard library only.
"""

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from rolekd.errors import InputError, brief

OPERATIONS = (
    "Rotate",
    "TranslateX",
    "TranslateY",
    "Brightness",
    "Color",
    "Invert",
    "Sharpness",
    "Posterize",
    "ShearX",
    "Solarize",
    "ShearY",
    "Equalize",
    "AutoContrast",
    "Cutout",
    "Contrast",
)
COPIES = 2
LENGTH = COPIES * len(OPERATIONS) * 2
MAX_PROBABILITY = 10  # in tenths
MAX_MAGNITUDE = 9
COUNT_PROBABILITIES = (0.2, 0.3, 0.5)  # of applying 0, 1 or 2 operations to an image


class Entry(NamedTuple):
    """One of the 30 entries of a policy."""

    operation: str
    probability: int
    magnitude: int


@dataclass(frozen=True)
class Policy:
    """60 integers, checked; hashable, so that what is derived from it can be kept.

    Raises:
        InputError: not 60 integers, a probability outside 0..10, a magnitude outside 0..9.
    """

    values: tuple[int, ...]

    def __init__(self, values: Iterable[int]) -> None:
        object.__setattr__(self, "values", _checked(values))

    @classmethod
    def zeros(cls) -> "Policy":
        """Return the policy that every search starts from, which does nothing."""
        return cls((0,) * LENGTH)

    def __iter__(self) -> Iterator[int]:
        return iter(self.values)

    def entries(self) -> tuple[Entry, ...]:
        """Return the 30 entries, copy 1 first."""
        return tuple(
            Entry(name, *self.values[2 * i : 2 * i + 2])
            for i, name in enumerate(OPERATIONS * COPIES)
        )


def describe(index: int) -> str:
    """Return what the integer at `index` of a policy means, for messages."""
    copy, rest = divmod(index, 2 * len(OPERATIONS))
    what = "magnitude" if rest % 2 else "probability"
    return f"{what} of {OPERATIONS[rest // 2]}, copy {copy + 1}"


def limit(index: int) -> int:
    """Return the largest value that the integer at `index` of a policy may have."""
    return MAX_MAGNITUDE if index % 2 else MAX_PROBABILITY


def _checked(values: Iterable[int]) -> tuple[int, ...]:
    try:
        given = tuple(values)
    except TypeError:
        raise InputError(
            f"policy: is {brief(values)}, not a list; give {LENGTH} integers"
        ) from None
    if len(given) != LENGTH:
        raise InputError(
            f"policy: has {len(given)} integers; give {LENGTH}: "
            f"{COPIES} x {len(OPERATIONS)} pairs of probability and magnitude"
        )
    return tuple(_integer(value, index) for index, value in enumerate(given))


def _integer(value: object, index: int) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]  # refuses floats, takes numpy's
    except TypeError:
        raise InputError(
            f"policy: integer {index} ({describe(index)}) is {brief(value)}; "
            f"make it an integer in 0..{limit(index)}"
        ) from None
    if not 0 <= number <= limit(index):
        raise InputError(
            f"policy: integer {index} ({describe(index)}) is {brief(number)}; "
            f"make it at least 0 and at most {limit(index)}"
        )
    return number
