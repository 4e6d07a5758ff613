"""torchvision's networks and your own, by name."""

from pathlib import Path

import pytest
import torch
from declared import declare
from torch import nn

from rolekd.errors import InputError
from rolekd.models import build, default_taps
from rolekd.models.capture import shapes
from rolekd.quantize import convert

_OWN = """
from torch import nn
def make(*, classes, channels, image_size, width):
    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
"""


def test_a_package_of_the_user_declares_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(tmp_path, monkeypatch, "rolekd.models", {"ownnet": "own:make"}, _OWN)
    model = build("ownnet", classes=3, channels=1, image_size=(8, 8), width=5, seed=0)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(InputError, match="ownnets: unknown network; did you mean ownnet"):
        build("ownnets", classes=3, channels=1, image_size=(8, 8), width=5, seed=0)


def test_an_entry_point_that_does_not_load_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(tmp_path, monkeypatch, "rolekd.models", {"ownnet": "own:missing"}, _OWN)
    with pytest.raises(InputError, match=r"own:missing does not load.*reinstall"):
        build("ownnet", classes=3, channels=1, image_size=(8, 8), width=5, seed=0)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
@pytest.mark.parametrize(("channels", "side"), [(1, 32), (3, 96)])
def test_torchvision_networks_fit_channels_classes_and_size(
    name: str, channels: int, side: int
) -> None:
    model = build(
        f"torchvision:{name}",
        classes=7,
        channels=channels,
        image_size=(side, side),
        width=1,
        seed=0,
    ).eval()
    assert model(torch.zeros(2, channels, side, side)).shape == (2, 7)
    stem = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert stem.in_channels == channels
    assert stem.stride == ((1, 1) if side == 32 else (2, 2))


def test_seeds_decide_torchvision_weights_too() -> None:
    first, again = (
        build(
            "torchvision:squeezenet1_1",
            classes=2,
            channels=1,
            image_size=(32, 32),
            width=1,
            seed=4,
        ).state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_unknown_names_of_torchvision() -> None:
    with pytest.raises(InputError, match=r"torchvision:resnet19.*torchvision:resnet18"):
        build("torchvision:resnet19", classes=2, channels=1, image_size=(8, 8), width=1, seed=0)


@pytest.mark.parametrize(
    ("name", "first", "last", "sides"),
    [
        ("resnet18", "layer1.1.relu", "layer4.1.relu", [32, 16, 8, 4]),
        ("resnet50", "layer1.2.relu", "layer4.2.relu", [32, 16, 8, 4]),
        ("mobilenet_v2", "features.4.conv.0.2", "features.18.2", [16, 8, 4, 2]),
        ("mobilenet_v3_small", "features.2.block.0.2", "features.12.2", [16, 8, 4, 2]),
    ],
)
def test_default_taps_of_torchvision_are_the_last_activations_of_the_resolutions(
    name: str, first: str, last: str, sides: list[int]
) -> None:
    name = f"torchvision:{name}"
    model = build(name, classes=7, channels=1, image_size=(32, 32), width=1, seed=0)
    taps = default_taps(model, name)
    assert (taps[0], taps[-1]) == (first, last)
    found = shapes(model, (32, 32))
    assert [found[path][1:] for path in taps] == [(side, side) for side in sides]
    assert default_taps(convert(model, weight_bits=2, activation_bits=2), name) == taps
    assert model.training


def test_small_and_oblong_images_have_fewer_taps() -> None:
    name = "torchvision:resnet18"
    model = build(name, classes=2, channels=1, image_size=(8, 8), width=1, seed=0)
    assert len(default_taps(model, name, (8, 8))) == 3  # the fourth stage is 1x1
    assert shapes(model, (9, 7))[default_taps(model, name, (9, 7))[1]] == (128, 5, 4)


def test_networks_without_default_taps() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3))
    with pytest.raises(InputError, match="own: does not have default taps; name module paths"):
        default_taps(model, "own", (8, 8))
    with pytest.raises(InputError, match="does not take images of 9x9"):
        default_taps(model, "own", (9, 9))
