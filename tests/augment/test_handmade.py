"""RandAugment and TrivialAugment against torchvision's own transforms."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, autoaugment

from rolekd.augment import draws, recipe, reference
from rolekd.augment.engine import Engine
from rolekd.augment.handmade import RandAugment, TrivialAugment
from rolekd.errors import InputError

FILL = (125, 123, 114)
SHAPES = [(32, 32, 3), (28, 28, 1), (40, 26, 3)]


def as_pil(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0])


def torchvision_variants(space: dict, magnitude: int | None) -> dict[str, list[tuple[float, ...]]]:
    """The signed strengths of torchvision's augmentation space, in the order of our rows."""
    strengths = {}
    for name, (grid, signed) in space.items():
        values = grid.reshape(-1)
        if magnitude is not None and grid.ndim:
            values = values[magnitude : magnitude + 1]
        strengths[name] = [(float(v), -float(v)) if signed else (float(v),) * 2 for v in values]
    return strengths


def assert_same_variants(made: recipe.Recipe, theirs: dict, shape: tuple[int, int, int]) -> None:
    """Every row of a recipe does to an image what torchvision's `_apply_op` does."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, shape).astype(np.uint8)
    fill = np.array(FILL[: shape[2]], np.uint8)
    names = [name for name in theirs if name != "Identity"]
    rows = [(name, pair) for name in names for pair in theirs[name]]
    assert len(rows) == len(made.variants)
    for (name, magnitudes), pair in zip(rows, made.variants, strict=True):
        assert pair[0].operation.name == name
        # Which of the two signs comes first is free, since either is drawn half of the time.
        ours = [reference.apply(variant, image, fill, (0, 0)).tobytes() for variant in pair]
        expected = [
            np.asarray(
                autoaugment._apply_op(
                    as_pil(image), name, m, InterpolationMode.NEAREST, fill.tolist()
                )
            ).tobytes()
            for m in magnitudes
        ]
        assert sorted(ours) == sorted(expected), (name, magnitudes, shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("magnitude", [0, 1, 5, 9, 15, 23, 30])
def test_randaugment_has_torchvisions_operations(shape, magnitude):
    space = autoaugment.RandAugment()._augmentation_space(31, shape[:2])
    made = RandAugment(2, magnitude).recipe(*shape[:2])
    assert made.steps == 2
    assert_same_variants(made, torchvision_variants(space, magnitude), shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bins", [31, 10])
def test_trivialaugment_has_torchvisions_operations(shape, bins):
    space = autoaugment.TrivialAugmentWide()._augmentation_space(bins)
    made = TrivialAugment(bins).recipe(*shape[:2])
    assert_same_variants(made, torchvision_variants(space, None), shape)


@pytest.mark.parametrize("augmentation", [RandAugment(3, 12), TrivialAugment()])
@pytest.mark.parametrize("shape", SHAPES)
def test_engine_replays_what_was_drawn_with_torchvision(augmentation, shape):
    images = np.random.default_rng(0).integers(0, 256, (150, *shape)).astype(np.uint8)
    fill = FILL[: shape[2]]
    engine = Engine(fill)
    out = engine.apply(images, augmentation, 11)
    made = recipe.of(augmentation, *shape[:2])
    drawn = draws.plan(made, engine.base, 11, len(images), *shape[:2])
    for i, image in enumerate(images):
        pil = as_pil(image)
        for row, sign in zip(drawn.rows[i], drawn.signs[i], strict=True):
            if row:
                variant = made.variants[row - 1][sign]
                pil = autoaugment._apply_op(pil, *named(variant), InterpolationMode.NEAREST, fill)
        np.testing.assert_array_equal(out[i], np.asarray(pil).reshape(shape))


def named(variant: recipe.Variant) -> tuple[str, float]:
    """Our variant in torchvision's conventions: shifts the other way, factors from 1."""
    name, strength = variant.operation.name, variant.strength
    if name.startswith("Translate"):
        strength = -strength
    elif name in ("Brightness", "Color", "Contrast", "Sharpness"):
        strength -= 1.0
    return name, strength


def test_operations_and_strengths_are_drawn_uniformly():
    made = recipe.of(TrivialAugment(), 32, 32)
    drawn = draws.plan(made, recipe.Base(), 5, 60_000, 32, 32)
    names = ["Identity"] + [pair[0].operation.name for pair in made.variants]
    counts = dict.fromkeys(names, 0)
    for row, count in enumerate(np.bincount(drawn.rows[:, 0], minlength=len(names))):
        counts[names[row]] += count
    expected = 60_000 / 14
    chi2 = sum((count - expected) ** 2 / expected for count in counts.values())
    assert len(counts) == 14
    assert chi2 < 45  # 13 degrees of freedom; p = 2e-5, and the seed is fixed


def test_torch_linspace_is_met_to_the_last_bit():
    from rolekd.augment.handmade import _line

    for start, end in [(0.0, 0.3), (0.0, 135.0), (255.0, 0.0), (0.0, 150.0 / 331.0 * 28)]:
        for bins in (2, 10, 31, 64):
            np.testing.assert_array_equal(
                _line(start, end, bins), torch.linspace(start, end, bins).double().numpy()
            )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RandAugment(0), "operations is 0"),
        (lambda: RandAugment(2, 31), "magnitude 31"),
        (lambda: RandAugment(2, -1), "magnitude -1"),
        (lambda: TrivialAugment(1), "1 bins"),
    ],
)
def test_bad_arguments(make, said):
    with pytest.raises(InputError, match=said):
        make()


def test_more_steps_than_there_are_streams():
    with pytest.raises(InputError, match="at most 30"):
        Engine((0,)).apply(np.zeros((1, 4, 4, 1), np.uint8), RandAugment(31), 0)
