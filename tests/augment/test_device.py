"""The batched PyTorch engine gives what the compiled kernels give, and never waits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekd.augment import device, draws, recipe
from rolekd.augment.compiled import Tables, tables_of
from rolekd.augment.engine import Engine
from rolekd.augment.handmade import RandAugment, TrivialAugment
from rolekd.augment.policy import LENGTH, Policy, limit

FILL = (125, 123, 114)
POLICIES = st.one_of(
    st.tuples(*(st.integers(0, limit(i)) for i in range(LENGTH))).map(Policy),
    st.builds(RandAugment, st.integers(1, 4), st.integers(0, 30)),
    st.just(TrivialAugment()),
    st.none(),
)


def prepared(
    engine: Engine, policy: recipe.Augmentation, shape: tuple[int, ...], seed: int
) -> tuple[Tables, draws.DrawPlan, recipe.Base, int]:
    made = recipe.of(policy, *shape[1:3])
    drawn = draws.plan(made, engine.base, seed, *shape[:3])
    fill = sum(int(v) << (8 * i) for i, v in enumerate(engine.fill))
    return tables_of(made, *shape[1:]), drawn, engine.base, fill


@settings(max_examples=40, deadline=None)
@given(
    policy=POLICIES,
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
    base=st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 20)),
    seed=st.integers(0, 2**63 - 1),
)
def test_same_values_as_the_compiled_kernels(policy, shape, base, seed):
    rng = np.random.default_rng(seed)
    images = (rng.integers(0, 256, (30, *shape)) // rng.integers(1, 5, (30, 1, 1, 1))).astype(
        np.uint8
    )
    engine = Engine(FILL[: shape[2]], *base)
    out = torch.empty(images.shape, dtype=torch.uint8)
    device.augment(torch.from_numpy(images), out, *prepared(engine, policy, images.shape, seed))
    np.testing.assert_array_equal(out.numpy(), engine.apply(images, policy, seed))


def test_batches_longer_than_a_chunk(monkeypatch):
    monkeypatch.setattr(device, "_CHUNK_PIXELS", 7 * 64)
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3)).astype(np.uint8)
    engine, policy = Engine(FILL, 1, True, 2), Policy([5, 6] * 30)
    out = torch.empty(images.shape, dtype=torch.uint8)
    device.augment(torch.from_numpy(images), out, *prepared(engine, policy, images.shape, 3))
    np.testing.assert_array_equal(out.numpy(), engine.apply(images, policy, 3))


@pytest.mark.parametrize("policy", [Policy([10, 7] * 30), RandAugment(), TrivialAugment(), None])
def test_no_operation_asks_the_device_for_a_value(policy):
    """On the meta device there are no values: whatever needed one would raise."""
    shape = (100, 16, 16, 3)
    images = torch.empty(shape, dtype=torch.uint8, device="meta")
    engine = Engine(FILL, 2, True, 4)
    device.augment(images, torch.empty_like(images), *prepared(engine, policy, shape, 3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("policy", [Policy([10, 7] * 30), RandAugment(), TrivialAugment(), None])
def test_on_a_gpu(policy):
    images = np.random.default_rng(0).integers(0, 256, (3000, 32, 32, 3)).astype(np.uint8)
    engine = Engine(FILL, 4, True, 16)
    on_gpu = torch.from_numpy(images).cuda()
    engine.apply(on_gpu, policy, 1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        out = engine.apply(on_gpu, policy, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(out.cpu().numpy(), engine.apply(images, policy, 1))
