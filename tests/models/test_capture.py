"""Taps on float and converted networks."""

import pytest
import torch
from torch import nn

from rolekd.errors import InputError
from rolekd.models import Taps, build, default_taps
from rolekd.models.capture import shapes
from rolekd.quantize import convert


@pytest.mark.parametrize("converted", [False, True])
@pytest.mark.parametrize("name", ["resnet8", "resnet18", "alexnet"])
def test_default_taps_are_features_after_relu_and_before_the_quantiser(
    name: str, converted: bool
) -> None:
    model = build(name, classes=10, channels=3, image_size=(16, 16), width=4, seed=0)
    if converted:
        model = convert(model, weight_bits=2, activation_bits=2)
    with Taps(model, default_taps(model, name)) as taps:
        model(torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
        features = taps.values()
        assert list(taps.features) == list(default_taps(model, name))
    for feature in features:
        assert feature.ndim == 4
        assert feature.min() >= 0
        assert len(feature.unique()) > 100  # not on the quantiser's few levels
        assert feature.max() > 1  # not clipped
    assert not taps.features


def test_hooks_are_removed_at_the_end() -> None:
    model = build("resnet8", classes=10, channels=1, image_size=(8, 8), width=4, seed=0)
    with Taps(model, ["relu"]):
        pass
    assert not any(module._forward_hooks for module in model.modules())


def test_gradients_flow_through_taps() -> None:
    model = build("resnet8", classes=10, channels=1, image_size=(8, 8), width=4, seed=0)
    with Taps(model, ["stage1.0.relu2"]) as taps:
        model(torch.randn(2, 1, 8, 8))
        taps.features["stage1.0.relu2"].square().sum().backward()
    assert model.get_parameter("conv1.weight").grad is not None


def test_a_tap_that_does_not_run_is_refused_with_the_nearest_names() -> None:
    model = build("resnet8", classes=10, channels=1, image_size=(8, 8), width=4, seed=0)
    with pytest.raises(InputError, match=r"stage5\.0\.relu2.*stage\d\.0\.relu2"):
        Taps(model, ["stage5.0.relu2"])
    converted = convert(model, weight_bits=2, activation_bits=2)
    with pytest.raises(InputError, match="no such module"):
        Taps(converted, ["stage1"])  # its parts run, the container itself does not


def test_shapes_are_those_of_the_last_calls_and_leave_no_trace() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(2, 3, 3)
            self.norm, self.pool = nn.BatchNorm2d(3), nn.MaxPool2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.pool(self.norm(self.pool(self.stem(x))))

    model = Twice()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = shapes(model, (10, 6))
    assert found == {"stem": (3, 8, 4), "norm": (3, 4, 2), "pool": (3, 2, 1)}
    assert list(found) == ["stem", "norm", "pool"]
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert model.training
    assert not model.norm.training
    assert not any(module._forward_hooks for module in model.modules())
