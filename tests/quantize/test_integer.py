"""Integer-valued evaluation against fake-quantised evaluation in float64."""

import pytest
import torch
from torch import Tensor, fx, nn

from rolekd.errors import InputError
from rolekd.models import build
from rolekd.quantize import convert, integer, lower, operations

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


def _images(side: int = 8, channels: int = 3, count: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (count, side, side, channels)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def _normalised(images: Tensor, dtype: torch.dtype) -> Tensor:
    channels = images.shape[-1]
    mean, std = (torch.tensor(v[:channels], dtype=dtype) for v in (MEAN, STD))
    return ((images.to(dtype) / 255 - mean) / std).permute(0, 3, 1, 2)


def _converted(name: str, channels: int = 3, **options: object) -> fx.GraphModule:
    """A network whose BatchNorm statistics fit its images."""
    model = build(name, classes=10, channels=channels, image_size=(8, 8), width=4, seed=0)
    converted = convert(model, **{"weight_bits": 2, "activation_bits": 2, **options})
    for _ in range(5):
        converted(_normalised(_images(channels=channels), torch.float32))
    return converted


def _lower(model: nn.Module, channels: int = 3, **options: object) -> integer.IntegerModel:
    return lower(model, mean=MEAN[:channels], std=STD[:channels], image_size=(8, 8), **options)


@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
@pytest.mark.parametrize("residual", ["quantized", "float"])
@pytest.mark.parametrize("bits", [(1, 1), (2, 2), (4, 4), (8, 3)])
@pytest.mark.parametrize("name", ["resnet8", "resnet18", "alexnet"])
def test_equals_fake_quantised_evaluation_in_float64(
    name: str, bits: tuple[int, int], residual: str, quantizer: str
) -> None:
    model = _converted(
        name,
        weight_bits=bits[0],
        activation_bits=bits[1],
        residual=residual,
        quantizer=quantizer,
    )
    model = model.double().eval()  # before lowering: tanh in float32 could round a weight elsewhere
    logits = _lower(model)(_images())
    expected = model(_normalised(_images(), torch.float64))
    different = ((logits - expected).abs() > 5e-6).any(1)
    assert different.sum() <= 1  # of 32 images; a value within 2^-20 of a border may fall elsewhere


@pytest.mark.parametrize(("padding", "stride", "bias"), [(0, 1, True), (2, 2, False), (1, 3, True)])
def test_the_first_convolution_folds_mean_and_bias_also_at_the_border(
    padding: int, stride: int, bias: bool
) -> None:
    torch.manual_seed(0)
    first = nn.Conv2d(1, 6, 3, stride, padding, bias=bias)
    rest = [nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.ReLU()]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    model = convert(nn.Sequential(first, *rest, *end), weight_bits=4, activation_bits=4)
    images = _images(channels=1)
    model(_normalised(images, torch.float32))
    model = model.double().eval()
    expected = model(_normalised(images, torch.float64))
    torch.testing.assert_close(
        _lower(model, channels=1)(images).double(), expected, rtol=0, atol=5e-6
    )


def test_every_map_of_levels_is_whole_and_in_range_and_every_sum_in_its_bound() -> None:
    lowered = _lower(_converted("resnet18", weight_bits=4, activation_bits=3))
    values = lowered.values(_images())
    for operation in lowered.operations:
        value = values[operation.name]
        if isinstance(operation, (operations.Requantize, operations.AddLevels)):
            assert torch.equal(value, value.round())
            assert operation.low <= value.min() / operation.unit
            assert value.max() / operation.unit <= operation.high
        if isinstance(operation, operations.Convolution):
            assert torch.equal(value, value.round())
            assert value.abs().max() <= operation.bound
            assert values[operation.inputs[0]].abs().max() <= operation.largest


def test_the_low_bit_residual_stream_is_added_in_integers() -> None:
    kinds = [type(op).__name__ for op in _lower(_converted("resnet18")).operations]
    assert kinds.count("AddLevels") == 4  # the four inner identity shortcuts
    assert kinds.count("Affine") == 1  # what the pooling takes
    floats = [
        type(op).__name__ for op in _lower(_converted("resnet18", residual="float")).operations
    ]
    assert floats.count("AddLevels") == 0


def test_the_trained_network_is_left_alone() -> None:
    model = _converted("resnet8")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    lowered = _lower(model)
    assert model.training
    assert model.get_parameter("conv1.weight").requires_grad
    first = lowered(_images())
    with torch.no_grad():
        model.get_parameter("classifier.weight").zero_()
    assert torch.equal(first, lowered(_images()))
    del before["classifier.weight"]
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in before)


class _Sigmoid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.act = nn.Sigmoid()
        self.conv2 = nn.Conv2d(4, 4, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.act(self.conv1(x)))
        return self.classifier(self.flatten(self.pool(x)))


def _not_finite() -> fx.GraphModule:
    model = _converted("resnet8")
    with torch.no_grad():
        model.get_parameter("stage2.0.conv1.weight")[0, 0, 0, 0] = torch.nan
    return model


def _overflowing() -> nn.Module:
    wide = nn.Sequential(
        nn.Conv2d(3, 4100, 1), nn.ReLU(), nn.Conv2d(4100, 1, 3), nn.Flatten(), nn.Linear(36, 10)
    )
    model = convert(wide, weight_bits=8, activation_bits=8)
    with torch.no_grad():
        model.get_parameter("2.weight").fill_(1.0)
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (build("resnet8", classes=2, channels=3, image_size=(8, 8), width=4, seed=0), "convert it"),
        (convert(_Sigmoid(), weight_bits=2, activation_bits=2), r"layer act \(Sigmoid\)"),
        (_not_finite(), r"weights stage2\.0\.conv1\.weight: not all finite"),
        (_overflowing(), r"layer 2: its sums reach 2399\d+, beyond 32 bits"),
    ],
)
def test_networks_without_an_integer_form_are_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _lower(model)


def test_kept_layers_are_listed_or_refused_when_strict() -> None:
    model = _converted("resnet8", overrides={"stage3.0.conv2": "float"})
    assert _lower(model).inexact == ("stage3.0.conv2",)
    logits = _lower(model)(_images())
    expected = model.double().eval()(_normalised(_images(), torch.float64))
    torch.testing.assert_close(logits.double(), expected, rtol=0, atol=5e-6)
    with pytest.raises(InputError, match=r"stage3\.0\.conv2.*export\.strict"):
        _lower(model, strict=True)


def test_images_of_another_shape_or_type_are_refused() -> None:
    lowered = _lower(_converted("resnet8"))
    for images in (_images(side=9), _images(channels=1), _images().float()):
        with pytest.raises(InputError, match="do not fit"):
            lowered(images)
