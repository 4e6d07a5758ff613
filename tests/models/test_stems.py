"""Stems by size: small images keep their pixels, and what is left out is told."""

import pytest
import torch
from torch import nn

from rolekd.models import build, stems
from rolekd.models.capture import shapes
from rolekd.quantize.size import network_size

POOLED, PLAIN = "torchvision:resnet18", "torchvision:mobilenet_v3_small"


def _build(name: str, side: int) -> nn.Module:
    width = {"width": 4} if name == "resnet8" else {}
    return build(name, classes=3, channels=3, image_size=(side, side), seed=0, **width)


@pytest.mark.parametrize(
    ("name", "side", "stem", "last"),
    [
        (POOLED, 28, "stem 3x3 of stride 1", 4),
        (POOLED, 47, "stem 3x3 of stride 1", 6),
        (POOLED, 48, "stem 7x7 of stride 2", 3),
        (POOLED, 95, "stem 7x7 of stride 2", 6),
        (POOLED, 96, "stem 7x7 of stride 2, then pooling", 3),
        (POOLED, 224, "stem 7x7 of stride 2, then pooling", 7),
        (PLAIN, 32, "stem 3x3 of stride 1", 2),
        (PLAIN, 95, "stem 3x3 of stride 1", 6),
        (PLAIN, 96, "stem 3x3 of stride 2", 3),
        ("resnet8", 8, "stem 3x3 of stride 1", 1),
        ("resnet8", 47, "stem 3x3 of stride 1", 6),
        ("resnet8", 95, "stem 3x3 of stride 2", 6),
        ("resnet8", 256, "stem 3x3 of stride 2, then pooling", 8),
    ],
)
def test_the_last_maps_have_a_few_pixels_at_every_size(
    name: str, side: int, stem: str, last: int
) -> None:
    network = _build(name, side)
    assert stems.describe(network) == stem
    sizes = [shape[1:] for shape in shapes(network, (side, side)).values() if len(shape) == 3]
    assert next(s for s in reversed(sizes) if s != (1, 1) or last == 1) == (last, last)


@pytest.mark.parametrize("name", [POOLED, PLAIN, "resnet8"])
def test_a_border_between_stems_costs_no_more_than_one_halving(name: str) -> None:
    for side in (48, 96):
        below, above = (
            network_size(_build(name, s), (3, s, s)).multiply_accumulates for s in (side - 1, side)
        )
        assert 0.9 < below / above < 4.5


def test_the_longer_side_counts() -> None:
    assert [stems.left_out(s) for s in ((96, 20), (20, 95), (47, 47), (48, 1))] == [0, 1, 2, 1]


def test_a_stem_that_stays_is_torchvisions_own_padding_included() -> None:
    from torchvision import models

    own = models.squeezenet1_1(num_classes=3)
    ours = _build("torchvision:squeezenet1_1", 96)
    ours.load_state_dict(own.state_dict())
    images = torch.rand(2, 3, 96, 96)
    assert torch.equal(ours.eval()(images), own.eval()(images))


def test_a_network_of_none() -> None:
    assert stems.describe(nn.Linear(2, 2)) == "no stem"
