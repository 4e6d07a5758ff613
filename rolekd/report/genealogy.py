"""The line of a search's winner: the origin and the policy of each generation."""

from collections.abc import Sequence
from dataclasses import dataclass

from rolekd.augment.policy import COPIES, OPERATIONS
from rolekd.errors import few
from rolekd.outputs import Lineage

_NAMED = 4


@dataclass(frozen=True)
class Ancestor:
    """One generation of the winner's line, in words.

    Attributes:
        generation, member: where in the search it is.
        origin: where its weights came from.
        accuracy: on the search's validation images, in percent, as text.
        changed: integers of the policy that are not its parent's.
        policy: the operations that act most often.
    """

    generation: int
    member: int
    origin: str
    accuracy: str
    changed: int
    policy: str


def describe_line(line: Lineage) -> list[Ancestor]:
    """Describe the winner's line of a search in words, oldest first."""
    policies = [row.policy for row in line.root]
    return [
        Ancestor(
            generation=row.generation,
            member=row.member,
            origin=_origin(row.member, row.parent),
            accuracy="—" if row.accuracy is None else f"{100 * row.accuracy:.1f}",
            changed=_differences(before, row.policy),
            policy=describe(row.policy),
        )
        for before, row in zip([None, *policies], line.root, strict=False)
    ]


def describe(policy: Sequence[int]) -> str:
    """Name the operations of 60 integers that act most often: probability and magnitude."""
    pairs = [(policy[2 * place], policy[2 * place + 1]) for place in range(len(policy) // 2)]
    entries = [
        (probability, magnitude, OPERATIONS[place % (len(pairs) // COPIES)])
        for place, (probability, magnitude) in enumerate(pairs)
        if probability
    ]
    often = sorted(entries, key=lambda entry: -entry[0])
    shown = [f"{name} {probability / 10:.1f}×{level}" for probability, level, name in often]
    return few(shown, _NAMED) or "nothing"


def _origin(member: int, parent: int | None) -> str:
    if parent is None:
        return "fresh"
    return "itself" if parent == member else f"copy of member {parent}"


def _differences(before: Sequence[int] | None, policy: Sequence[int]) -> int:
    if before is None:
        return sum(value != 0 for value in policy)
    return sum(old != new for old, new in zip(before, policy, strict=True))
