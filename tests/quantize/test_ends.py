"""First convolution and classifier in 8 bits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from rolekd.errors import InputError
from rolekd.models import build
from rolekd.quantize import convert, lower, operations
from rolekd.quantize.channelwise import ChannelWeight
from rolekd.quantize.modules import PixelConv2d, QuantLinear, set_pixels
from rolekd.quantize.size import layers, network_size

MEAN, STD = (0.4914, 0.3, 0.4465), (0.247, 0.2, 0.2616)


def _images(channels: int = 3, count: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 8, 8, channels), generator=generator, dtype=torch.uint8)


def _normalised(images: Tensor, dtype: torch.dtype) -> Tensor:
    mean, std = (torch.tensor(v[: images.shape[-1]], dtype=dtype) for v in (MEAN, STD))
    return ((images.to(dtype) / 255 - mean) / std).permute(0, 3, 1, 2)


def _ready(model: nn.Module, **options: object) -> nn.Module:
    """Convert and fit the statistics."""
    converted = convert(model, weight_bits=2, activation_bits=2, ends=8, **options)
    set_pixels(converted, MEAN, STD)
    for _ in range(3):
        converted(_normalised(_images(), torch.float32))
    return converted


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6), outputs=st.integers(1, 5), inputs=st.integers(1, 9),
    factor=st.floats(1e-6, 1e6),
)  # fmt: skip
def test_weights_are_whole_multiples_of_a_step_per_channel(
    seed: int, outputs: int, inputs: int, factor: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = factor * torch.randn(outputs, inputs, 3, generator=generator)
    weight.requires_grad_()
    quantizer = ChannelWeight(8)
    integers, step = quantizer.integers(weight)
    made = quantizer(weight)
    assert integers.abs().amax((1, 2)).tolist() == [127] * outputs
    expected = integers * step.view(-1, 1, 1)
    assert torch.allclose(made.double(), expected, rtol=1e-6)
    assert bool(((made - weight).abs() <= 0.5001 * step.view(-1, 1, 1)).all())
    made.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_a_channel_of_zeros_stays_finite() -> None:
    integers, step = ChannelWeight(8).integers(torch.zeros(2, 3))
    assert not integers.any()
    assert bool(step.isfinite().all())


@pytest.mark.parametrize(("padding", "stride", "bias"), [(0, 1, True), (2, 2, False), (1, 3, True)])
def test_the_first_convolution_is_one_of_pixels_padded_with_their_zero_point(
    padding: int, stride: int, bias: bool
) -> None:
    torch.manual_seed(0)
    source = nn.Conv2d(3, 6, 3, stride, padding, bias=bias)
    layer = PixelConv2d(source)
    set_pixels(layer, MEAN, STD)
    found = layer.double()(_normalised(_images(), torch.float64))
    zero = round(255 * sum(MEAN) / 3)
    assert int(layer.zero_point()) == zero
    padded = F.pad(_images().permute(0, 3, 1, 2).double(), [padding] * 4, value=zero)
    integers, step = layer.weight_quantizer.integers(layer.weights())
    mean, std = (layer.get_buffer(name).view(1, -1, 1, 1) for name in ("mean", "std"))
    weight = integers * step.view(-1, 1, 1, 1) * std
    expected = F.conv2d((padded / 255 - mean) / std, weight, layer.bias, stride)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    usual = source.double()(_normalised(_images(), torch.float64))
    if padding == 0:  # the float layer on the same images, which it pads with other values
        assert (found - usual).abs().max() < 0.05 * usual.std()


@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
@pytest.mark.parametrize("name", ["resnet8", "alexnet", "torchvision:mobilenet_v3_small"])
def test_integers_equal_fake_quantised_evaluation_in_float64(name: str, quantizer: str) -> None:
    network = build(name, classes=10, channels=3, image_size=(8, 8), width=4, seed=0)
    model = _ready(network, quantizer=quantizer).double().eval()
    lowered = lower(model, mean=MEAN, std=STD, image_size=(8, 8), strict=True)
    logits, expected = lowered(_images()), model(_normalised(_images(), torch.float64))
    # a value within rounding of a border may fall elsewhere; a level of 8 bits is small
    assert ((logits - expected).abs() > 5e-6).any(1).sum() <= 2
    assert not any(isinstance(o, operations.Linear | operations.Pixels) for o in lowered.operations)
    values = lowered.values(_images())
    for operation in lowered.operations:
        if isinstance(operation, operations.Convolution | operations.IntegerLinear):
            sums, inputs = values[operation.name], values[operation.inputs[0]]
            assert torch.equal(sums, sums.round())
            assert sums.abs().max() <= operation.bound
            assert inputs.abs().max() <= operation.largest
            assert operation.weight.abs().max() <= 127


def test_training_reaches_weights_and_steps() -> None:
    network = build("resnet8", classes=10, channels=3, image_size=(8, 8), width=4, seed=0)
    model = _ready(network)
    F.cross_entropy(model(_normalised(_images(), torch.float32)), torch.arange(32) % 10).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    taught = {n for n, _ in network.state_dict().items()}
    assert taught < set(model.state_dict())
    assert {"conv1.mean", "conv1.std"} < set(model.state_dict())


def test_size_counts_the_ends_at_their_bits() -> None:
    network = build("resnet8", classes=10, channels=3, image_size=(8, 8), width=4, seed=0)
    whole, low = (
        convert(network, weight_bits=2, activation_bits=2, ends=ends) for ends in ("float", 8)
    )
    first, *_, last = layers(low, (3, 8, 8))
    assert (first.weight_bits, first.activation_bits) == (8, 8)
    assert (last.weight_bits, last.activation_bits) == (8, 8)
    weights = first.size.parameters + 10 * 32
    step = 32  # of the classifier's input
    assert (
        network_size(whole, (3, 8, 8)).bits - network_size(low, (3, 8, 8)).bits
        == 24 * weights - step
    )
    assert low.get_submodule("classifier").weight_quantizer.bits == 8
    assert isinstance(low.get_submodule("classifier"), QuantLinear)


def test_what_has_no_form_is_refused_in_one_line() -> None:
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    grouped = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Conv2d(4, 4, 1), *end)
    with pytest.raises(InputError, match=r"^layer 0: a grouped first .* choose another network$"):
        convert(grouped, weight_bits=2, activation_bits=2, ends=8)
    network = build("resnet8", classes=10, channels=3, image_size=(8, 8), width=4, seed=0)
    with pytest.raises(InputError, match=r"^ends 4: unknown; choose float or 8$"):
        convert(network, weight_bits=2, activation_bits=2, ends=4)
    for mean, std, name in (((0.5, 0.3, 0.4465), STD, "mean"), (MEAN, (0.2, 0.2, 0.2), "std")):
        with pytest.raises(InputError, match=f"^layer conv1: was trained on .* another {name}; "):
            lower(_ready(network), mean=mean, std=std, image_size=(8, 8))
