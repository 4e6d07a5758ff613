"""Levels: each image of a batch at a strength of its own, from the same draws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekd.augment import device, draws, recipe, reference
from rolekd.augment.compiled import tables_of
from rolekd.augment.engine import Engine
from rolekd.augment.handmade import Adaptive, RandAugment
from rolekd.augment.policy import Policy
from rolekd.errors import InputError

FILL = (125, 123, 114)
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))


def noise(count: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(
    levels=st.lists(st.integers(0, 30), max_size=12),
    operations=st.integers(1, 3),
    shape=SHAPES,
    seed=st.integers(0, 2**63 - 1),
)
def test_an_image_at_a_level_is_that_of_randaugment_at_the_magnitude(
    levels, operations, shape, seed
):
    images = noise(len(levels), shape, seed % 1000)
    engine = Engine(FILL[: shape[2]], 1, True, 3)
    out = engine.apply(images, Adaptive(operations), seed, np.array(levels, np.int64))
    for number, level in enumerate(levels):
        expected = engine.apply(images, RandAugment(operations, level), seed)
        np.testing.assert_array_equal(out[number], expected[number])


@settings(max_examples=15, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**63 - 1))
def test_all_engines_agree(shape, seed):
    images, levels = noise(31, shape, seed % 1000), np.arange(31)
    engine = Engine(FILL[: shape[2]], 1, True, 3)
    out = engine.apply(images, Adaptive(), seed, levels)
    made = recipe.of(Adaptive(), *shape[:2])
    drawn = draws.plan(made, engine.base, seed, 31, *shape[:2], levels)
    readable = np.empty_like(images)
    reference.augment(images, readable, made, engine.base, engine.fill, drawn, range(31))
    np.testing.assert_array_equal(out, readable)
    batched = torch.empty(images.shape, dtype=torch.uint8)
    fill = sum(int(v) << (8 * i) for i, v in enumerate(engine.fill))
    tables = tables_of(made, *shape)
    device.augment(torch.from_numpy(images), batched, tables, drawn, engine.base, fill)
    np.testing.assert_array_equal(out, batched.numpy())


def test_no_result_depends_on_the_number_of_threads():
    images, levels = noise(700, (16, 12, 3), 0), np.arange(700) % 31
    one, five = (
        Engine(FILL, 2, True, 5, threads=n).apply(images, Adaptive(), 5, levels) for n in (1, 5)
    )
    np.testing.assert_array_equal(one, five)
    assert (one != Engine(FILL, 2, True, 5).apply(images, Adaptive(), 5, levels[::-1])).any()


def test_without_levels_all_are_at_the_weakest():
    images, engine = noise(50, (8, 8, 3), 1), Engine(FILL, 1)
    np.testing.assert_array_equal(
        engine.apply(images, Adaptive(), 3), engine.apply(images, RandAugment(2, 0), 3)
    )


def test_levels_that_cannot_be_written_to_are_read():
    images, levels = noise(4, (8, 8, 3), 1), np.arange(4)
    levels.flags.writeable = False
    assert Engine(FILL).apply(images, Adaptive(), 3, levels).shape == images.shape


@pytest.mark.parametrize(
    ("policy", "levels", "said"),
    [
        (Adaptive(), np.array([0, 31]), "levels from 0 to 31; make them at least 0 and at most 30"),
        (Adaptive(), np.array([-1, 0]), "levels from -1 to 0"),
        (Policy.zeros(), np.array([0, 1]), "levels from 0 to 1; make them .* at most 0"),
        (Adaptive(), np.array([0]), r"levels are int64 \[1\]; give int64 \[2\]"),
        (Adaptive(), np.array([0.0, 1.0]), "levels are float64"),
    ],
)  # fmt: skip
def test_levels_that_a_policy_does_not_have(policy, levels, said):
    with pytest.raises(InputError, match=said):
        Engine(FILL).apply(noise(2, (8, 8, 3), 1), policy, 3, levels)


@pytest.mark.parametrize(
    ("make", "said"), [(lambda: Adaptive(0), "operations is 0"), (lambda: Adaptive(2, 1), "1 bins")]
)
def test_bad_arguments(make, said):
    with pytest.raises(InputError, match=said):
        make()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_no_level_makes_the_host_wait():
    images, levels = noise(3000, (32, 32, 3), 0), np.arange(3000) % 31
    engine, on_gpu = Engine(FILL, 4, True, 16), torch.from_numpy(noise(3000, (32, 32, 3), 0)).cuda()
    engine.apply(on_gpu, Adaptive(), 1, levels)
    torch.cuda.set_sync_debug_mode("error")
    try:
        out = engine.apply(on_gpu, Adaptive(), 1, levels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(out.cpu().numpy(), engine.apply(images, Adaptive(), 1, levels))
