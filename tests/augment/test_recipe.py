"""Recipes and draws: the chain is the walk's distribution, and the draws follow it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekd.augment import draws, recipe
from rolekd.augment.policy import COUNT_PROBABILITIES, LENGTH, OPERATIONS, Policy


def enumerated(p: list[float]) -> dict[tuple[int, ...], float]:
    """Probability of every outcome of the walk, from its definition: all subsets, all orders."""
    outcomes: dict[tuple[int, ...], float] = {}
    for acting in itertools.product([False, True], repeat=len(p)):
        chance = np.prod([q if a else 1 - q for q, a in zip(p, acting, strict=True)])
        entries = [i for i, a in enumerate(acting) if a]
        orders = list(itertools.permutations(entries))
        for order in orders:
            for count, share in enumerate(COUNT_PROBABILITIES):
                outcome = order[:count]
                outcomes[outcome] = outcomes.get(outcome, 0) + chance * share / len(orders)
    return outcomes


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 10), max_size=5))
def test_the_chain_is_the_walk(tenths):
    p = [tenth / 10 for tenth in tenths]
    chain = recipe.policy_chain(np.array(p))
    expected = enumerated(p)
    np.testing.assert_allclose(chain.sum(axis=2), 1, atol=1e-12)
    assert (chain > -1e-12).all()
    for first in range(-1, len(p)):
        for second in range(-1, len(p)):
            outcome = tuple(i for i in (first, second) if i >= 0)
            ours = chain[0, 0, first + 1] * chain[1, first + 1, second + 1]
            if first < 0 <= second or (first == second >= 0):
                assert ours == pytest.approx(0, abs=1e-12)
            else:
                assert ours == pytest.approx(expected.get(outcome, 0), abs=1e-12)


def walks(policy: Policy, count: int, rng: np.random.Generator) -> np.ndarray:
    """Walk literally: count, shuffle, apply each with its probability, stop at count."""
    p = np.array([entry.probability for entry in policy.entries()]) / 10
    result = np.full((count, 2), -1)
    for row in result:
        wanted = rng.choice(3, p=COUNT_PROBABILITIES)
        applied = 0
        for entry in rng.permutation(len(p)):
            if applied == wanted:
                break
            if rng.random() < p[entry]:
                row[applied] = entry
                applied += 1
    return result


def test_draws_follow_the_literal_walk():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 11, LENGTH) * (rng.random(LENGTH) < 0.4)
    policy = Policy(np.minimum(values, [10, 9] * (LENGTH // 2)))
    literal = walks(policy, 4000, rng)
    drawn = draws.plan(recipe.of(policy, 32, 32), recipe.Base(), 3, 200_000, 32, 32).rows
    active = [i for i, entry in enumerate(policy.entries()) if entry.probability]
    for step in range(2):
        share = np.bincount(drawn[:, step], minlength=len(active) + 1) / len(drawn)
        seen = [np.mean(literal[:, step] == entry) for entry in [-1, *active]]
        deviation = np.sqrt(share * (1 - share) / len(literal)) + 1e-3
        assert (np.abs(share - seen) < 4.5 * deviation).all()


def test_zeros_do_nothing_and_certainty_acts():
    nothing = draws.plan(recipe.of(Policy.zeros(), 8, 8), recipe.Base(), 1, 1000, 8, 8)
    assert not nothing.rows.any()
    certain = draws.plan(recipe.of(Policy([10, 0] * 30), 8, 8), recipe.Base(), 1, 50_000, 8, 8)
    counts = np.bincount((certain.rows > 0).sum(axis=1)) / 50_000
    np.testing.assert_allclose(counts, COUNT_PROBABILITIES, atol=0.01)
    assert (certain.rows[:, 0] != certain.rows[:, 1])[certain.rows[:, 1] > 0].all()


def test_rows_of_a_policy_are_its_entries_with_a_probability():
    values = [0, 9] * 30
    values[6], values[7] = 3, 5  # Brightness, copy 1
    values[46], values[47] = 1, 2  # ShearX, copy 2
    made = recipe.of(Policy(values), 32, 32)
    names = [(row[0].operation.name, row[0].strength, row[1].strength) for row in made.variants]
    assert names == [
        ("Brightness", pytest.approx(1.0), pytest.approx(1.0)),
        ("ShearX", pytest.approx(0.06), pytest.approx(-0.06)),
    ]
    assert OPERATIONS[8] == "ShearX"


def test_splitmix64_known_answers():
    """The published first outputs of SplitMix64 for the seed 1234567."""
    with np.errstate(over="ignore"):
        steps = np.arange(1, 6, dtype=np.uint64)
        bits = draws.mix(np.uint64(1234567) + draws.GOLDEN * steps)
    assert bits.tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_plans_are_pure_and_a_prefix_of_longer_ones():
    made, base = recipe.of(Policy([5, 5] * 30), 9, 11), recipe.Base(3, True, 4)
    short, long = (draws.plan(made, base, 77, count, 9, 11) for count in (10, 500))
    for name in ("rows", "signs", "centres", "crop", "flip", "cutout"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[:10])
    other = draws.plan(made, base, 78, 500, 9, 11)
    assert np.mean(other.crop == long.crop) < 0.3


def test_base_draws_are_uniform_in_their_ranges():
    n = 60_000
    made = recipe.of(Policy([10, 5] * 30), 6, 10)
    drawn = draws.plan(made, recipe.Base(2, True, 3), 5, n, 6, 10)
    for values, size in [
        (drawn.crop[:, 0], 5),
        (drawn.crop[:, 1], 5),
        (drawn.cutout[:, 0], 6),
        (drawn.cutout[:, 1], 10),
        (drawn.centres[:, 0, 0], 6),
        (drawn.centres[:, 1, 1], 10),
        (drawn.flip, 2),
        (drawn.signs[:, 0], 2),
    ]:
        counts = np.bincount(values, minlength=size)
        assert len(counts) == size
        assert ((counts - n / size) ** 2 / (n / size)).sum() < 40
    pairs = np.corrcoef(
        np.stack([drawn.crop[:, 0], drawn.crop[:, 1], drawn.flip, drawn.rows[:, 0]])
    )
    assert np.abs(pairs - np.eye(4)).max() < 0.02


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_choose_takes_the_first_row_above_the_draw(weights, bits):
    total = sum(weights)
    p = np.array([w / total for w in weights]) if total > 1e-9 else np.eye(len(weights))[0]
    thresholds = recipe.as_thresholds(np.stack([np.stack([p, np.roll(p, 1)] * len(p))[: len(p)]]))
    made = recipe.Recipe((), thresholds)
    for previous in range(len(p)):
        (row,) = made.choose(0, np.array([previous]), np.array([bits], np.uint64))
        expected = next(i for i, t in enumerate(thresholds[0, previous]) if bits < t)
        assert row == expected
