"""Exported graphs: exact on random networks and on trained digits, deterministic, checked."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from rolekd.errors import InputError
from rolekd.export import load, selftest
from rolekd.export.verify import verify
from rolekd.export.write import export
from rolekd.models import build
from rolekd.models.resnet import Block
from rolekd.params import Ends, Target
from rolekd.quantize import IntegerModel, convert, lower, operations
from rolekd.quantize.modules import set_pixels

DIGITS = [str(digit) for digit in range(10)]
# the targets that are exact on this machine
TARGETS: list[Target] = ["cpu", "cpu-amx", "float", *(["cpu-vnni"] if selftest.exact() else [])]


def _random_images(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _lowered(model: nn.Module, images: np.ndarray, mean: list[float]) -> IntegerModel:
    """Fit BatchNorm's statistics to the images, then lower."""
    x = (torch.from_numpy(images).float() / 255 - torch.tensor(mean)) / 0.25
    set_pixels(model, mean, [0.25] * len(mean))
    model.train()
    for _ in range(3):
        model(x.permute(0, 3, 1, 2))
    size = (images.shape[1], images.shape[2])
    return lower(model, mean=mean, std=[0.25] * len(mean), image_size=size)


class _Inverted(nn.Module):
    """A block of MobileNetV3: depthwise, gated by its own mean, with a linear end."""

    def __init__(self, inputs: int, outputs: int, stride: int, hard: bool) -> None:
        super().__init__()
        wide = 2 * inputs
        self.bend = nn.Hardswish() if hard else nn.ReLU6()
        self.expand = nn.Sequential(nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide))
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Sequential(
            nn.Conv2d(wide, 2, 1), nn.ReLU(), nn.Conv2d(2, wide, 1), nn.Hardsigmoid()
        )
        self.project = nn.Sequential(nn.Conv2d(wide, outputs, 1), nn.BatchNorm2d(outputs))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        deep = self.bend(self.depthwise(self.bend(self.expand(x))))
        end = self.project(deep * self.gate(self.pool(deep)))
        return x + end if self.adds else end


@st.composite
def _networks(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, int, int]]:
    """A random small network and the shape (H, W, C) of its images."""
    channels = draw(st.sampled_from([1, 3]))
    width = draw(st.integers(1, 9))
    torch.manual_seed(draw(st.integers(0, 1000)))
    layers: list[nn.Module] = [
        nn.Conv2d(
            channels, width, draw(st.sampled_from([1, 3, 5])), padding=draw(st.integers(0, 2))
        ),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    for _ in range(draw(st.integers(1, 3))):
        outputs, stride = draw(st.integers(1, 9)), draw(st.integers(1, 2))
        kind = draw(st.sampled_from(["block", "plain", "pooled", "inverted"]))
        if kind == "block":
            layers.append(Block(width, outputs, stride))
        elif kind == "inverted":
            layers.append(_Inverted(width, outputs, stride, draw(st.booleans())))
        else:
            kernel = draw(st.sampled_from([1, 3]))
            bias = draw(st.booleans())
            layers += [
                nn.Conv2d(width, outputs, kernel, stride, padding=kernel // 2, bias=bias),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            if kind == "pooled":
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
        width = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4)]
    side = draw(st.integers(5, 9)), draw(st.integers(5, 9))
    return nn.Sequential(*layers), (*side, channels)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    network=_networks(),
    weight_bits=st.integers(1, 8),
    activation_bits=st.integers(1, 8),
    residual=st.sampled_from(["quantized", "float"]),
    quantizer=st.sampled_from(["dorefa", "lsq"]),
    ends=st.sampled_from(["float", 8]),
    target=st.sampled_from(TARGETS),
)
def test_random_networks_are_exact_on_random_images(
    network: tuple[nn.Module, tuple[int, int, int]],
    weight_bits: int,
    activation_bits: int,
    residual: str,
    quantizer: str,
    ends: Ends,
    target: Target,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model, shape = network
    converted = convert(
        model,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        residual=residual,
        quantizer=quantizer,
        ends=ends,
    )
    images = _random_images((16, *shape))
    lowered = _lowered(converted, images, [0.4, 0.5, 0.6][: shape[-1]])
    path = tmp_path_factory.mktemp("random") / "model.onnx"
    summary = export(lowered, path, classes=list("abcd"), metadata={}, target=target)
    result = verify(path, lowered, images, layers=True)
    assert result.first_different is None, summary.forms
    assert result.argmax_equal == result.images
    assert result.largest_difference <= 1e-5 * max(result.logit_range, 1.0)


@pytest.mark.parametrize(("quantizer", "ends"), [("dorefa", "float"), ("lsq", 8)])
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5"])
def test_torchvision_mobilenets_are_exact(
    name: str, quantizer: str, ends: Ends, tmp_path: Path
) -> None:
    model = build(
        f"torchvision:{name}", classes=4, channels=3, image_size=(16, 16), width=1, seed=0
    )
    converted = convert(model, weight_bits=4, activation_bits=4, quantizer=quantizer, ends=ends)
    images = _random_images((8, 16, 16, 3))
    lowered = _lowered(converted, images, [0.4, 0.5, 0.6])
    summary = export(lowered, tmp_path / "a.onnx", classes=list("abcd"), metadata={})
    assert verify(tmp_path / "a.onnx", lowered, images, layers=True).exact
    assert set(summary.forms.values()) == {"fitted", "matmul", "float"}


@pytest.mark.parametrize("residual", ["quantized", "float"])
@pytest.mark.parametrize(
    ("quantizer", "bits"), [("lsq", 1), ("lsq", 2), ("lsq", 8), ("dorefa", 1), ("dorefa", 6)]
)
@pytest.mark.parametrize("name", ["alexnet", "resnet8"])
def test_our_networks_are_exact_with_every_quantiser_and_residual(
    name: str, quantizer: str, bits: int, residual: str, tmp_path: Path
) -> None:
    converted = convert(
        build(name, classes=4, channels=3, image_size=(12, 12), width=4, seed=0),
        weight_bits=bits,
        activation_bits=bits,
        quantizer=quantizer,
        residual=residual,
        overrides={"*conv2": 3},
    )
    images = _random_images((16, 12, 12, 3))
    lowered = _lowered(converted, images, [0.4, 0.5, 0.6])
    export(lowered, tmp_path / "a.onnx", classes=list("abcd"), metadata={})
    assert verify(tmp_path / "a.onnx", lowered, images, layers=True).exact


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, torch.Tensor]:
    bunch = load_digits()
    images = np.rint(bunch.images * 255 / 16).astype(np.uint8)[..., None]
    return images, torch.from_numpy(bunch.target)


@pytest.mark.parametrize(("bits", "ends"), [(2, "float"), (4, "float"), (2, 8)])
def test_a_trained_digits_network_is_exact_on_every_image(
    bits: int, ends: Ends, digits: tuple[np.ndarray, torch.Tensor], tmp_path: Path
) -> None:
    images, labels = digits
    mean, std = images.mean() / 255, images.std() / 255
    x = ((torch.from_numpy(images).float() / 255 - mean) / std).permute(0, 3, 1, 2)
    model = convert(
        build("resnet8", classes=10, channels=1, image_size=(8, 8), width=8, seed=0),
        weight_bits=bits,
        activation_bits=bits,
        ends=ends,
    )
    set_pixels(model, [mean], [std])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        batch = torch.randint(0, 1200, (128,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(x[batch]), labels[batch]).backward()
        optimizer.step()
    lowered = lower(model, mean=[mean], std=[std], image_size=(8, 8))
    path = tmp_path / "digits.onnx"
    export(lowered, path, classes=DIGITS, metadata={"bits": str(bits)})
    result = verify(path, lowered, images, layers=True)
    assert result.exact
    assert result.images == 1797
    accuracy = (torch.from_numpy(result.predictions[1200:]) == labels[1200:]).float().mean()
    assert accuracy > 0.75  # trained, so that the comparison means something
    float_predictions = model.eval()(x).argmax(1)
    agreement = (float_predictions == torch.from_numpy(result.predictions)).float().mean()
    assert agreement > 0.99


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["alexnet", "resnet8", "torchvision:mobilenet_v3_small"])
def test_eight_bit_ends_are_exact_on_every_target(
    name: str, target: Target, tmp_path: Path
) -> None:
    converted = convert(
        build(name, classes=4, channels=3, image_size=(12, 12), width=4, seed=0),
        weight_bits=2,
        activation_bits=2,
        ends=8,
    )
    images = _random_images((32, 12, 12, 3))
    lowered = _lowered(converted, images, [0.1, 0.5, 0.6])
    summary = export(lowered, tmp_path / "a.onnx", classes=list("abcd"), metadata={}, target=target)
    found = verify(tmp_path / "a.onnx", lowered, images, layers=True)
    assert found.exact
    assert found.largest_difference <= 1e-6 * found.logit_range
    linear = [o.name for o in lowered.operations if isinstance(o, operations.IntegerLinear)]
    first = next(o.name for o in lowered.operations if isinstance(o, operations.Convolution))
    assert {summary.forms[layer] for layer in linear} == {
        "float" if target == "float" else "matmul"
    }
    assert summary.forms[first] == "float" or target != "float"
    if target != "float" and not name.startswith("torchvision"):  # which has grouped convolutions
        tensors = onnx.load(tmp_path / "a.onnx").graph.initializer
        kinds = {t.data_type for t in tensors if len(t.dims) > 1}
        assert kinds == {onnx.TensorProto.UINT2, onnx.TensorProto.UINT8, onnx.TensorProto.INT32}


def test_a_mobilenet_with_eight_bit_ends_is_a_small_file(tmp_path: Path) -> None:
    """With float ends it is 3 MB: the squeeze-excite and classifier weights are most of it."""
    model = build(
        "torchvision:mobilenet_v3_small",
        classes=10, channels=3, image_size=(32, 32), width=1, seed=0,
    )  # fmt: skip
    converted = convert(model, weight_bits=2, activation_bits=2, quantizer="lsq", ends=8)
    images = _random_images((16, 32, 32, 3))
    lowered = _lowered(converted, images, [0.4, 0.5, 0.6])
    path = tmp_path / "a.onnx"
    summary = export(lowered, path, classes=DIGITS, metadata={})
    assert summary.bytes == path.stat().st_size <= 1_450_000
    found = verify(path, lowered, images, layers=True)
    assert found.exact
    assert found.argmax_equal == found.images == 16


def test_an_eight_bit_file_takes_images_of_any_size(tmp_path: Path) -> None:
    model = build("resnet8", classes=4, channels=3, image_size=(8, 8), width=4, seed=0)
    images = _random_images((8, 8, 8, 3))
    converted = convert(model, weight_bits=2, activation_bits=2, ends=8)
    lowered = _lowered(converted, images, [0.4, 0.5, 0.6])
    export(lowered, tmp_path / "a.onnx", classes=list("abcd"), metadata={}, resize=True)
    assert verify(tmp_path / "a.onnx", lowered, images, layers=True).exact
    load(tmp_path / "a.onnx")(_random_images((1, 20, 17, 3)))


@pytest.fixture(scope="module")
def small() -> IntegerModel:
    model = convert(
        build("resnet8", classes=10, channels=1, image_size=(8, 8), width=4, seed=0),
        weight_bits=2,
        activation_bits=2,
    )
    return _lowered(model, _random_images((16, 8, 8, 1)), [0.5])


def test_the_same_network_gives_the_same_bytes(small: IntegerModel, tmp_path: Path) -> None:
    first = export(small, tmp_path / "a.onnx", classes=DIGITS, metadata={"b": "1", "a": "2"})
    second = export(small, tmp_path / "b.onnx", classes=DIGITS, metadata={"a": "2", "b": "1"})
    assert first.sha256 == second.sha256
    assert (tmp_path / "a.onnx").stat().st_size == first.bytes


def test_the_file_carries_names_and_metadata_and_takes_raw_images(
    small: IntegerModel, tmp_path: Path
) -> None:
    path = tmp_path / "a.onnx"
    summary = export(small, path, classes=DIGITS, metadata={"accuracy": "0.5"})
    network = load(path, sha256=summary.sha256)
    assert network.metadata["accuracy"] == "0.5"
    assert network.metadata["classes"] == '["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]'
    (image,) = network.runtime.get_inputs()
    assert (image.type, image.shape[1:]) == ("tensor(uint8)", [8, 8, 1])
    for count in (1, 5):
        logits, probabilities = network(_random_images((count, 8, 8, 1)))
        assert logits.shape == probabilities.shape == (count, 10)
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)


def test_weights_are_stored_in_two_bits_and_floats_only_at_the_ends(
    small: IntegerModel, tmp_path: Path
) -> None:
    export(small, tmp_path / "a.onnx", classes=DIGITS, metadata={})
    tensors = onnx.load(tmp_path / "a.onnx").graph.initializer
    shapes = {
        kind: sorted(tuple(t.dims) for t in tensors if t.data_type == kind and len(t.dims) > 1)
        for kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.UINT2, onnx.TensorProto.INT8)
    }
    # The first convolution is two digits of nine pixels and nine whites.
    assert shapes[onnx.TensorProto.FLOAT] == [(10, 32), (18, 4), (18, 4)]
    assert len(shapes[onnx.TensorProto.UINT2]) == 11  # eight convolutions, three shortcuts
    assert not shapes[onnx.TensorProto.INT8]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_every_target_is_exact(target: Target, bits: int, tmp_path: Path) -> None:
    model = convert(
        build("resnet18", classes=10, channels=3, image_size=(9, 7), width=4, seed=0),
        weight_bits=bits,
        activation_bits=bits,
    )
    images = _random_images((32, 9, 7, 3))
    lowered = _lowered(model, images, [0.4, 0.5, 0.6])
    summary = export(lowered, tmp_path / "a.onnx", classes=DIGITS, metadata={}, target=target)
    assert verify(tmp_path / "a.onnx", lowered, images, layers=True).exact
    if target == "float":
        assert set(summary.forms.values()) == {"float"}
    if target != "float" and bits == 2:
        assert list(summary.forms.values()).count("fitted") == 12
        assert list(summary.forms.values()).count("matmul") == 7


def test_sums_that_overflow_with_their_zero_points_alone_are_refused(tmp_path: Path) -> None:
    inputs = 33_100  # signed levels reach 128, but stand as 0 to 255; so do the weights
    wide = nn.Sequential(
        nn.Conv2d(1, inputs, 1), nn.Conv2d(inputs, 1, 1), nn.Flatten(), nn.Linear(4, 3)
    )
    model = convert(wide, weight_bits=8, activation_bits=8, quantizer="lsq")
    images = _random_images((4, 2, 2, 1))
    _lowered(model, images, [0.5])  # sets the steps
    with torch.no_grad():
        model.get_parameter("1.weight").fill_(1.0)
    lowered = _lowered(model, images, [0.5])
    with pytest.raises(InputError, match=r"layer 1: its sums reach 2\d{9}, beyond 32 bits"):
        export(lowered, tmp_path / "a.onnx", classes=list("abc"), metadata={})
    assert not any(tmp_path.iterdir())


def test_wrong_number_of_class_names_is_refused(small: IntegerModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 names for 10 logits"):
        export(small, tmp_path / "a.onnx", classes=["a", "b", "c"], metadata={})
    assert not any(tmp_path.iterdir())


def test_wide_convolutions_are_products_for_amx(tmp_path: Path) -> None:
    network = build("resnet8", classes=10, channels=1, image_size=(8, 8), width=64, seed=0)
    student = convert(network, weight_bits=2, activation_bits=2)
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), dtype=np.uint8)
    student(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    lowered = lower(student, mean=[0.0], std=[1.0], image_size=(8, 8))
    forms = {}
    for target in ("cpu", "cpu-amx"):
        path = tmp_path / f"{target}.onnx"
        forms[target] = export(lowered, path, classes=DIGITS, metadata={}, target=target).forms
        assert verify(path, lowered, images, layers=True).exact
    moved = {name for name, form in forms["cpu"].items() if forms["cpu-amx"][name] != form}
    # of 128 and 256 channels; narrower ones stay
    assert moved == {"stage3.0.conv1", "stage4.0.conv1"}
    assert {forms["cpu-amx"][name] for name in moved} == {"matmul"}
