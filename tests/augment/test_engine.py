"""The engine: contracts of every operation, purity, threads, processes, faults."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from rolekd.augment import draws, ops, recipe, reference
from rolekd.augment.compiled import tables_of
from rolekd.augment.engine import Engine
from rolekd.augment.handmade import RandAugment, Single, TrivialAugment
from rolekd.augment.ops import TABLE, Kind, Operation
from rolekd.augment.policy import LENGTH, MAX_MAGNITUDE, Policy
from rolekd.errors import InputError

FILL = (125, 123, 114)
DENSE = Policy([4, 7] * (LENGTH // 2))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def by_reference(engine: Engine, images: np.ndarray, policy: recipe.Augmentation, seed: int):
    made = recipe.of(policy, *images.shape[1:3])
    drawn = draws.plan(made, engine.base, seed, *images.shape[:3])
    out = np.empty_like(images)
    which = range(len(images))
    reference.augment(images, out, made, engine.base, engine.fill, drawn, which)
    return out


# Operations that a user might add: one function and one row each.


def _darken_top(image: np.ndarray, strength: float) -> np.ndarray:
    result = image.copy()
    result[: len(image) // 2] //= np.uint8(strength)
    return result


ADDED = [
    Operation("DarkenTop", Kind.PIXELS, _darken_top, (2.0,) * 10),
    Operation(
        "Gamma",
        Kind.LOOKUP,
        lambda g: (255 * (np.arange(256) / 255) ** g).astype(np.uint8),
        tuple(0.5 + 0.1 * m for m in range(10)),
    ),
    Operation(
        "Zoom",
        Kind.GEOMETRY,
        lambda s, h, w: (1 - s, 0.0, s * w / 2, 0.0, 1 - s, s * h / 2),
        tuple(0.05 * m for m in range(10)),
        signed=True,
    ),
    Operation("Stripe", Kind.REGION, lambda rows, _h, w: (int(rows), w), (3.0,) * 10),
]
ALL = [*TABLE.values(), *ADDED]


@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
@pytest.mark.parametrize("shape", [(20, 32, 32, 3), (20, 9, 14, 1)])
def test_contract_of_operations(operation, shape):
    """Every row of the table, and any row that is added to it."""
    images = noise(*shape)
    before = images.copy()
    engine = Engine(FILL[: shape[3]])
    assert len(operation.strengths) == MAX_MAGNITUDE + 1
    for strength in operation.strengths:
        augmentation = Single(operation, strength)
        out = engine.apply(images, augmentation, 9)
        assert (out.shape, out.dtype) == (images.shape, np.uint8)
        np.testing.assert_array_equal(out, by_reference(engine, images, augmentation, 9))
    np.testing.assert_array_equal(images, before)


def test_an_added_operation_mixes_with_the_others(monkeypatch):
    """Replace a row by one without a compiled form: the policy runs all the same."""
    monkeypatch.setitem(TABLE, "Invert", ADDED[0])
    recipe.of.cache_clear()
    values = [0] * LENGTH
    values[10:12] = 6, 0  # Invert, copy 1
    values[24:26] = 7, 3  # AutoContrast
    values[30:32] = 5, 4  # Rotate, copy 2
    images, engine = noise(300, 16, 16, 3), Engine(FILL, 2, True, 4)
    made = tables_of(recipe.of(Policy(values), 16, 16), 16, 16, 3)
    assert made.has_uncompiled
    out = engine.apply(images, Policy(values), 4)
    np.testing.assert_array_equal(out, by_reference(engine, images, Policy(values), 4))
    recipe.of.cache_clear()


@pytest.mark.parametrize("policy", [None, DENSE, RandAugment(), TrivialAugment()])
def test_results_depend_on_nothing_but_the_arguments(policy):
    images = noise(700, 16, 12, 3)
    first = Engine(FILL, 2, True, 5, threads=1).apply(images, policy, 5)
    np.testing.assert_array_equal(
        first, Engine(FILL, 2, True, 5, threads=5).apply(images, policy, 5)
    )
    tensor = Engine(FILL, 2, True, 5).apply(torch.from_numpy(images), policy, 5)
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(first, tensor.numpy())
    assert (first != Engine(FILL, 2, True, 5).apply(images, policy, 6)).any()


def test_images_of_a_batch_get_different_draws():
    images = np.repeat(noise(1, 32, 32, 3), 500, axis=0)
    out = Engine(FILL).apply(images, Policy([10, 7] * 30), 1)
    assert len(np.unique(out.reshape(500, -1), axis=0)) > 150


@pytest.mark.parametrize(
    "images",
    [
        noise(40, 33, 35, 3)[::2, 1:, :-3],  # not contiguous
        np.frombuffer(noise(1 + 30 * 192).tobytes(), np.uint8)[1:].reshape(30, 8, 8, 3),
        noise(0, 8, 8, 3),
        noise(1, 1, 1, 3),
    ],
    ids=["strided", "unaligned and read-only", "empty", "one pixel"],
)
def test_unusual_arrays(images):
    engine = Engine(FILL, 1, True, 3)
    np.testing.assert_array_equal(
        engine.apply(images, DENSE, 8), by_reference(engine, images, DENSE, 8)
    )


@pytest.mark.parametrize("size", [(256, 256), (256, 3), (1, 200)])
def test_sizes_up_to_256(size):
    images, engine = noise(6, *size, 3), Engine(FILL, 10, True, 32)
    np.testing.assert_array_equal(
        engine.apply(images, DENSE, 2), by_reference(engine, images, DENSE, 2)
    )


def test_pixel_amounts_follow_the_size():
    """m pixels at 32: rounded, halves away from zero; the rectangle follows each axis."""
    shifts = [ops.translate_x(m, 8, 8)[2] for m in (1, 2, 3, 5, 6, 9, -2)]
    assert shifts == [0, 1, 1, 1, 2, 2, -1]
    assert ops.translate_y(4, 96, 32)[5] == 12
    assert ops.cutout(18, 16, 64) == (9, 36)


def test_color_leaves_one_channel_alone():
    images = noise(5, 8, 8, 1)
    out = Engine((9,)).apply(images, Single(TABLE["Color"], 0.1), 0)
    np.testing.assert_array_equal(out, images)


def test_crops_reach_both_ends_and_fill_is_the_given_colour():
    images = np.full((2000, 4, 4, 3), 200, np.uint8)
    out = Engine(FILL, crop_padding=2).apply(images, None, 3)
    rows = (out == np.array(FILL)).all(axis=3).all(axis=2)
    assert {tuple(np.flatnonzero(row)) for row in rows} == {(0, 1), (0,), (), (3,), (2, 3)}
    assert set(np.unique(out)) == {200, *FILL}


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (noise(2, 8, 8), "give uint8"),
        (noise(2, 8, 8, 3).astype(np.float32), "float32"),
        (torch.zeros(2, 8, 8, 3), "float32"),
        (noise(2, 8, 8, 1), "1 channels and the fill colour 3"),
        (noise(2, 8, 8, 4), "4 channels"),
        (noise(2, 257, 8, 3), "257 x 8"),
        (noise(2, 8, 0, 3), "8 x 0"),
    ],
)
def test_faults(images, said):
    with pytest.raises(InputError, match=said):
        Engine(FILL).apply(images, None, 0)


def _child(queue, images, expected):
    out = Engine(FILL, threads=3).apply(images, DENSE, 5)
    queue.put(bool((out == expected).all()))


def test_a_forked_process_makes_its_own_threads():
    images = noise(400, 32, 32, 3)
    expected = Engine(FILL, threads=3).apply(images, DENSE, 5)  # starts threads here
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_child, args=(queue, images, expected), daemon=True)
    process.start()
    assert queue.get(timeout=60)
    process.join(timeout=60)


FALLBACKS = {
    "no numba": ("sys.modules['numba'] = None", {}),
    # The only place that is left to numba is a notebook's.
    "no cache": ("", {"NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator"}),
}


@pytest.mark.parametrize(("prepare", "variables"), FALLBACKS.values(), ids=FALLBACKS)
def test_works_without_numba_and_without_a_cache(prepare, variables, tmp_path):
    images, engine = noise(64, 16, 16, 3), Engine(FILL, 2, True, 5)
    np.save(tmp_path / "in.npy", images)
    code = f"""if True:
        import sys
        {prepare}
        import numpy as np
        from rolekd.augment.engine import Engine
        from rolekd.augment.policy import Policy
        images = np.load({str(tmp_path / "in.npy")!r})
        out = Engine({FILL}, 2, True, 5).apply(images, Policy({list(DENSE)}), 5)
        np.save({str(tmp_path / "out.npy")!r}, out)
        """
    environment = {**os.environ, **variables}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=environment)
    out = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(out, engine.apply(images, DENSE, 5))
