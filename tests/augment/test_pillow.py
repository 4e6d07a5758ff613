"""Oracle: Pillow, operation by operation and over whole policies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks import pillow
from rolekd.augment import draws, recipe, reference
from rolekd.augment.engine import Engine
from rolekd.augment.handmade import Single
from rolekd.augment.ops import TABLE, Kind, blend
from rolekd.augment.policy import LENGTH, OPERATIONS, Policy, limit

SHAPES = [(32, 32, 3), (28, 28, 1), (24, 37, 3), (41, 17, 1), (8, 8, 1), (96, 96, 3)]
FILL = (125, 123, 114)


def sample_images(count: int, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Images of several kinds: noise, smooth, low contrast, few values, constant."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    images = np.empty((count, *shape), np.uint8)
    for i in range(count):
        noise = rng.integers(0, 256, shape)
        wave = 127 + 120 * np.sin(y / rng.uniform(2, 20) + x / rng.uniform(2, 20))[:, :, None]
        kinds = [
            noise,
            wave + rng.normal(0, 20, shape),
            rng.integers(0, 200) + noise % rng.integers(2, 50),
            rng.choice(rng.integers(0, 256, 4), shape),
            np.broadcast_to(rng.integers(0, 256, shape[2]), shape),
        ]
        images[i] = np.clip(kinds[i % len(kinds)], 0, 255)
    return images


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_equals_pillow(name):
    """Over 10,000 images in all, each equal at every value: compiled and readable form."""
    operation = TABLE[name]
    for magnitude in range(10):
        for number, shape in enumerate(SHAPES):
            count = 12 if shape[0] < 96 else 8
            images = sample_images(count, shape, 100 * magnitude + number)
            augmentation = Single(operation, operation.strengths[magnitude])
            fill = FILL[: shape[2]]
            engine = Engine(fill)
            made = recipe.of(augmentation, *shape[:2])
            drawn = draws.plan(made, engine.base, 7, count, *shape[:2])
            expected = pillow.augment(images, made, engine.base, fill, drawn, range(count))
            readable = np.empty_like(images)
            reference.augment(images, readable, made, engine.base, engine.fill, drawn, range(count))
            np.testing.assert_array_equal(readable, expected, f"{magnitude} {shape}")
            np.testing.assert_array_equal(engine.apply(images, augmentation, 7), expected)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Dense and sparse policies."""
    zeros = draw(st.booleans())
    values = [draw(st.integers(0, limit(i))) for i in range(LENGTH)]
    if zeros:
        values = [v if i % 2 or draw(st.integers(0, 3)) == 0 else 0 for i, v in enumerate(values)]
    return Policy(values)


@settings(max_examples=40, deadline=None)
@given(
    policy=policies(),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
    seed=st.integers(0, 2**63 - 1),
    padding=st.integers(0, 6),
    flip=st.booleans(),
    cutout=st.integers(0, 20),
)
def test_whole_policies_replayed_with_pillow(policy, shape, seed, padding, flip, cutout):
    images = sample_images(24, shape, seed % 1000)
    fill = FILL[: shape[2]]
    engine = Engine(fill, padding, flip, cutout)
    made = recipe.of(policy, *shape[:2])
    drawn = draws.plan(made, engine.base, seed, len(images), *shape[:2])
    expected = pillow.augment(images, made, engine.base, fill, drawn, range(len(images)))
    before = images.copy()
    np.testing.assert_array_equal(engine.apply(images, policy, seed), expected)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("degrees", [0, 4.5, 30, 45, 90, 135, 180, 217.25, -90, -13.5])
@pytest.mark.parametrize("shape", [(32, 32, 3), (31, 40, 1), (255, 256, 1)])
def test_any_angle_samples_the_pixels_that_pillow_samples(degrees, shape):
    height, width, channels = shape
    index = np.arange(height * width)
    marks = np.stack([index % 251, index // 251, index * 7 % 256], axis=1)[:, :channels]
    image = marks.reshape(shape).astype(np.uint8)
    variant = recipe.Variant(TABLE["Rotate"], degrees)
    ours = reference.apply(variant, image, np.array(FILL[:channels], np.uint8), (0, 0))
    fill = FILL if channels == 3 else FILL[0]
    theirs = Image.fromarray(image if channels == 3 else image[:, :, 0]).rotate(
        degrees, fillcolor=fill
    )
    np.testing.assert_array_equal(ours, np.asarray(theirs).reshape(shape))


def test_blends_equal_pillow_for_every_pair_of_values():
    start, end = (np.asarray(v, np.uint8) for v in np.mgrid[:256, :256])
    for factor in [*TABLE["Color"].strengths, 0.01, 1.99, 1.0 / 3.0]:
        theirs = Image.blend(Image.fromarray(start), Image.fromarray(end), factor)
        np.testing.assert_array_equal(blend(start, end, factor), np.asarray(theirs))


def test_kinds_cover_the_table():
    assert {operation.kind for operation in TABLE.values()} == set(Kind)
