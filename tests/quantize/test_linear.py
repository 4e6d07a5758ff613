"""Linear layers: hidden ones are quantised as convolutions are, a classifier as the ends say."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rolekd.errors import InputError
from rolekd.export import verify
from rolekd.export.write import export
from rolekd.models import build
from rolekd.quantize import convert, lower, operations
from rolekd.quantize.lsq import LSQWeight
from rolekd.quantize.modules import QuantLinear, set_pixels
from rolekd.quantize.size import layers, network_size

MIDDLE = (0.5, 0.4, 0.45)


def _images(count: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, 8, 8, 3), generator=generator, dtype=torch.uint8)


def _normalised(images: Tensor, dtype: torch.dtype) -> Tensor:
    middle = torch.tensor(MIDDLE, dtype=dtype)
    return ((images.to(dtype) / 255 - middle) / 0.25).permute(0, 3, 1, 2)


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 16),
        nn.Hardswish(),
        nn.Dropout(0.2),
        nn.Linear(16, 5),
    )


def _ready(**options: object) -> nn.Module:
    converted = convert(_network(), weight_bits=4, activation_bits=3, **options)
    set_pixels(converted, MIDDLE, (0.25,) * 3)
    for _ in range(2):
        converted(_normalised(_images(), torch.float32))
    return converted.eval()


def _bits(model: nn.Module) -> list[tuple[int, int]]:
    return [(layer.weight_bits, layer.activation_bits) for layer in layers(model, (3, 8, 8))]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(32, 32), (4, 3), (4, 3), (32, 32)]),
        ({"ends": 8}, [(8, 8), (4, 3), (4, 3), (8, 8)]),
        ({"overrides": {"7": 8}}, [(32, 32), (4, 3), (8, 8), (32, 32)]),
        ({"overrides": {"7": "float"}}, [(32, 32), (4, 3), (32, 32), (32, 32)]),
        ({"overrides": {"[37]": 2}, "ends": 8}, [(8, 8), (2, 2), (2, 2), (8, 8)]),
    ],
)
def test_only_the_last_linear_layer_is_an_end(options: dict, expected: list) -> None:
    assert _bits(_ready(quantizer="lsq", **options)) == expected


def test_the_classifier_is_reached_by_ends_and_not_by_overrides() -> None:
    with pytest.raises(InputError, match=r"overrides\.10: no such layer; choose one of 0, 3, 7"):
        _ready(overrides={"10": 4})


def test_a_linear_layer_before_a_convolution_is_hidden_and_no_end() -> None:
    """As the gate of a squeeze-excite block may be, where the classifier is a convolution."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.gate = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)
            self.head = nn.Conv2d(4, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            gate = self.gate(x.mean((2, 3))).relu()
            return self.head(x * gate[:, :, None, None]).mean((2, 3))

    converted = convert(Gated(), weight_bits=4, activation_bits=4, ends=8)
    assert isinstance(converted.gate, QuantLinear)
    assert converted.gate.weight_quantizer.bits == 4


@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
@pytest.mark.parametrize("ends", ["float", 8])
def test_hidden_linear_layers_have_an_exact_integer_form(
    quantizer: str, ends: object, tmp_path: Path
) -> None:
    model = _ready(quantizer=quantizer, ends=ends)
    std = (0.25,) * 3
    lowered = lower(model, mean=MIDDLE, std=std, image_size=(8, 8), strict=True)
    linear = [o for o in lowered.operations if isinstance(o, operations.IntegerLinear)]
    assert [o.name for o in linear] == ["7"] + ["10"] * (ends == 8)
    assert linear[0].weight.abs().max() <= 15
    images = _images()
    expected = model.double()(_normalised(images, torch.float64))
    # a value within rounding of a border may fall on another level
    off = (lowered(images) - expected).abs().amax(1) > 1e-5
    assert off.sum() <= 2
    path = tmp_path / "net.onnx"
    export(lowered, path, classes=list("abcde"), target="cpu", resize=False, metadata={})
    checked = verify.verify(path, lowered, images.numpy(), layers=True, name="net")
    assert checked.exact


@pytest.mark.parametrize("ends", ["float", 8])
def test_a_mobilenet_of_four_bits_is_a_small_file(ends: object, tmp_path: Path) -> None:
    network = build(
        "torchvision:mobilenet_v3_small", classes=10, channels=3, image_size=(96, 96), seed=0
    )
    low = convert(network, weight_bits=4, activation_bits=4, quantizer="lsq", ends=ends)
    with torch.no_grad():
        low.train()(torch.randn(4, 3, 96, 96))
    half = (0.5, 0.5, 0.5)
    lowered = lower(low.eval(), mean=half, std=half, image_size=(96, 96))
    path = tmp_path / "net.onnx"
    made = export(
        lowered, path, classes=list("0123456789"), target="cpu", resize=False, metadata={}
    )
    assert made.bytes == path.stat().st_size <= 1_600_000
    assert made.forms["classifier.0"] == "matmul"


def test_mobilenets_hidden_layer_is_as_small_as_a_convolution() -> None:
    network = build(
        "torchvision:mobilenet_v3_small", classes=10, channels=3, image_size=(96, 96), seed=0
    )
    low = convert(network, weight_bits=4, activation_bits=4, quantizer="lsq", ends=8)
    found = {layer.path: layer for layer in layers(low, (3, 96, 96))}
    assert found["classifier.0"].weight_bits == found["classifier.0"].activation_bits == 4
    assert found["classifier.3"].weight_bits == 8
    assert isinstance(low.get_submodule("classifier.0").weight_quantizer, LSQWeight)
    # 576x1024 weights at four bits; biases stay float
    assert found["classifier.0"].size.bits == 4 * 576 * 1024 + 32 * 1024
    assert network_size(low, (3, 96, 96)).bytes < 1.6e6 / 1.5
