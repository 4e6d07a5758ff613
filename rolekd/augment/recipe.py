"""A recipe: all that is random about an augmentation, as tables that engines draw from.

Policies and hand-made augmentations become the same thing: rows of variants (an operation at a
strength, in both signs) and a Markov chain of at most a few steps over them. The chain of a
policy is the exact distribution of its walk (see `policy_chain`), so a draw is one lookup
instead of a shuffle of 30 entries.
"""

import functools
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rolekd.augment.draws import MAX_STEPS
from rolekd.augment.ops import TABLE, AffineMap, Operation
from rolekd.augment.policy import COUNT_PROBABILITIES, Policy
from rolekd.errors import InputError

_FIXED_ONE = 65536.0  # Pillow samples with 16 bits after the point


@dataclass(frozen=True)
class Base:
    """The base augmentation, after the policy.

    Attributes:
        crop_padding: pixels of fill around the image before the random crop to its size.
        horizontal_flip: whether to flip with probability 1/2.
        cutout: side in pixels of the final square of fill; 0 for none. Its centre is uniform
            over the image; it reaches from centre - side // 2 and is cut at the border.
    """

    crop_padding: int = 0
    horizontal_flip: bool = False
    cutout: int = 0


@dataclass(frozen=True)
class Variant:
    """An operation at a strength."""

    operation: Operation
    strength: float


@dataclass(frozen=True, eq=False)
class Recipe:
    """Variants and a chain over them. Row 0 is "nothing".

    An image may have a level, which decides how strong the variants of its rows are: each level
    has K-1 variants of its own, and all levels have one chain. So what is drawn is the same at
    every level.

    Attributes:
        variants: of rows 1..K-1 of level 0, then of level 1, and so on; each a pair (strength as
            it is, strength with the other sign).
        thresholds: uint64 [S, P, K]: a draw u of 32 bits takes the first row whose threshold
            exceeds u, in step s after row p of the step before. P is K, or 1 where the steps
            are independent. The last threshold is 2^32.
        levels: number of levels.
    """

    variants: tuple[tuple[Variant, Variant], ...]
    thresholds: NDArray[np.uint64]
    levels: int = 1

    @property
    def steps(self) -> int:
        """Number of operations an image can get, one after the other."""
        return len(self.thresholds)

    def at_level(self, rows: NDArray[np.int64], levels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers [N] of the variants, from 1, that rows [N] have at levels [N]."""
        return np.where(rows > 0, rows + levels * (self.thresholds.shape[2] - 1), 0)

    def choose(
        self, step: int, previous: NDArray[np.int64], bits: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        """Take the rows [N] of a step, given those of the step before and 32 random bits each."""
        table = self.thresholds[step]
        if len(table) == 1:
            return np.searchsorted(table[0], bits, side="right").astype(np.int64)
        # One sorted sequence of all rows of the table: row p lies between p 2^32 and (p+1) 2^32.
        shift = np.arange(len(table), dtype=np.uint64) << np.uint64(32)
        place = bits + shift[previous]
        found = np.searchsorted((table + shift[:, None]).ravel(), place, side="right")
        return np.asarray(found - previous * table.shape[1], np.int64)


class Handmade(Hashable, Protocol):
    """An augmentation that is not a policy: it makes its own recipe."""

    def recipe(self, height: int, width: int) -> Recipe:
        """Return the recipe for images of a size."""


Augmentation = Policy | Handmade | None


@functools.lru_cache(maxsize=256)
def of(augmentation: Augmentation, height: int, width: int) -> Recipe:
    """Return the recipe of a policy, of a hand-made augmentation, or (None) of doing nothing."""
    if augmentation is None:
        return Recipe((), np.zeros((0, 1, 1), np.uint64))
    if isinstance(augmentation, Policy):
        return _of_policy(augmentation)
    recipe = augmentation.recipe(height, width)
    if recipe.steps > MAX_STEPS:
        raise InputError(
            f"augmentation: applies {recipe.steps} operations to an image; take at most {MAX_STEPS}"
        )
    return recipe


def both_signs(operation: Operation, strength: float) -> tuple[Variant, Variant]:
    """Return a row of variants; the second has the other sign where the operation is signed."""
    other = -strength if operation.signed else strength
    return Variant(operation, strength), Variant(operation, other)


def as_thresholds(probabilities: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Turn probabilities [..., K] that sum to 1 into thresholds of 32-bit draws."""
    cumulative = np.rint(np.cumsum(probabilities, axis=-1) * 2.0**32).astype(np.uint64)
    cumulative[..., -1] = 1 << 32
    return np.minimum(cumulative, np.uint64(1 << 32))


def fixed_point(affine: AffineMap) -> tuple[int, int, int, int, int, int]:
    """Return an affine map in Pillow's 16.16 fixed point, taken at pixel centres."""
    a, b, c, d, e, f = affine
    at_centre = (a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5)
    a0, a1, a2, a3, a4, a5 = (math.floor(value * _FIXED_ONE + 0.5) for value in at_centre)
    return a0, a1, a2, a3, a4, a5


def _of_policy(policy: Policy) -> Recipe:
    entries = [entry for entry in policy.entries() if entry.probability]
    variants = tuple(
        both_signs(operation, operation.strengths[entry.magnitude])
        for entry in entries
        for operation in [TABLE[entry.operation]]
    )
    chain = policy_chain(np.array([entry.probability / 10 for entry in entries]))
    return Recipe(variants, as_thresholds(chain))


def policy_chain(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exact chain [2, K+1, K+1] of a policy's walk over K entries.

    The walk: draw a count 0, 1 or 2; shuffle the entries; apply each with its own probability
    p_i until `count` are applied. Which entries would act is independent of the order, and the
    order among them is uniform. So with B the number of *other* entries that would act,
    P(first = i) = p_i E[1 / (B + 1)],
    P(first = i, second = j) = p_i p_j E[1 / ((B + 1) (B + 2))].
    With E[t^B] = prod(1 - p + p t), these are its integrals over t in 0..1, weighted with 1 and
    with 1 - t; Gauss-Legendre with 16 points is exact for such polynomials up to degree 31.
    """
    size = len(p) + 1
    chain = np.zeros((2, size, size))
    chain[1, :, 0] = 1.0
    if len(p):
        nodes, weights = np.polynomial.legendre.leggauss(16)
        t, weights = (nodes + 1) / 2, weights / 2
        factors = 1 - p[:, None] + p[:, None] * t
        rest = factors.prod(axis=0) * weights
        first = p * (rest / factors).sum(axis=1)
        pairs = np.outer(p, p) * np.einsum("t,it,jt->ij", rest * (1 - t), 1 / factors, 1 / factors)
        np.fill_diagonal(pairs, 0.0)
        _, one, two = COUNT_PROBABILITIES
        chain[0, 0, 1:] = (one + two) * first
        chain[1, 1:, 1:] = two / (one + two) * pairs / first[:, None]
        chain[1, 1:, 0] = 1 - chain[1, 1:, 1:].sum(axis=1)
    chain[0, :, 0] = 1 - chain[0, :, 1:].sum(axis=1)
    return chain
