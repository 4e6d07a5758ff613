"""Networks from elsewhere: what training accepts is exported as it was trained, or refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from declared import declare
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from rolekd.errors import InputError
from rolekd.export import graph
from rolekd.export.verify import verify
from rolekd.export.write import export
from rolekd.params import Params
from rolekd.quantize import convert, lower
from rolekd.quantize.modules import set_pixels
from rolekd.stages import checks

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 1), dtype=np.uint8)
NORMALISED = (torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25

Layer = Callable[[nn.Conv2d], nn.Module]


class Recurrent(nn.Module):
    """All layers of its second half are called twice."""

    def __init__(
        self,
        layer: Layer = lambda source: source,
        padding_mode: str = "zeros",
        classes: int = 3,
        **geometry: object,
    ) -> None:
        super().__init__()
        shape = {"kernel_size": 3, "padding": 1} | geometry
        self.first = nn.Conv2d(1, 8, **shape)
        self.relu = nn.ReLU()
        self.conv = layer(nn.Conv2d(8, 8, padding_mode=padding_mode, **shape))
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        for _ in range(2):
            x = self.pool(self.relu(self.norm(self.conv(x))))
        logits: Tensor = self.classifier(x.mean([2, 3]))
        return logits


class Masked(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        mask = (self.weight > 0).to(self.weight.dtype)
        return self._conv_forward(input, self.weight * mask, self.bias)


def doubled(layer: nn.Conv2d) -> nn.Module:
    layer.register_forward_hook(lambda *call: 2 * call[-1])
    return layer


def pruned(layer: nn.Conv2d) -> nn.Module:
    found: nn.Module = prune.random_unstructured(layer, "weight", 0.5)
    return found


@pytest.mark.parametrize("options", [{}, {"residual": "float"}, {"ends": 8}])
def test_layers_that_are_called_twice_are_exported(
    options: dict[str, object], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = convert(Recurrent(), weight_bits=2, activation_bits=2, quantizer="lsq", **options)
    set_pixels(network, [0.5], [0.25])
    for _ in range(3):
        network(NORMALISED)
    integers = lower(network, mean=[0.5], std=[0.25], image_size=(16, 16))
    names = [operation.name for operation in integers.operations]
    assert len(set(names)) == len(names)
    assert {"conv", "conv#2"} <= set(names)
    close = (network.eval()(NORMALISED) - integers(IMAGES)).abs().max()
    assert close < 1e-4
    found = export(integers, tmp_path / "x.onnx", classes=list("abc"), metadata={})
    assert {"conv", "conv#2"} <= found.forms.keys()
    assert verify(tmp_path / "x.onnx", integers, IMAGES, layers=True).exact


@pytest.mark.parametrize("ends", ["float", 8])
@pytest.mark.parametrize(
    "geometry",
    [
        {"padding": "same"},
        {"padding": "valid"},
        {"padding": "same", "dilation": (2, 1), "kernel_size": (2, 3)},
    ],
)
def test_padding_may_be_a_word(geometry: dict[str, object], ends: object, tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = Recurrent(**geometry)
    network = convert(given, weight_bits=2, activation_bits=2, quantizer="lsq", ends=ends)
    set_pixels(network, [0.5], [0.25])
    for _ in range(3):
        network(NORMALISED)
    integers = lower(network, mean=[0.5], std=[0.25], image_size=(16, 16))
    assert (network.eval()(NORMALISED) - integers(IMAGES)).abs().max() < 1e-4
    export(integers, tmp_path / "x.onnx", classes=list("abc"), metadata={})
    assert verify(tmp_path / "x.onnx", integers, IMAGES, layers=True).exact


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # what it copies, PyTorch says
def test_an_even_kernel_that_keeps_the_size_is_refused() -> None:
    network = convert(
        Recurrent(padding="same", kernel_size=4), weight_bits=2, activation_bits=2, quantizer="lsq"
    )
    network(NORMALISED)
    with pytest.raises(InputError, match=r"^layer first: pads one side more than the other"):
        lower(network, mean=[0.5], std=[0.25], image_size=(16, 16))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_is_kept_in_low_bits_and_refused_where_it_is_not_exported(mode: str) -> None:
    torch.manual_seed(0)
    given = Recurrent(padding_mode=mode)
    network = convert(given, weight_bits=2, activation_bits=2, quantizer="lsq")
    network(NORMALISED)
    assert network.get_submodule("conv").padding_mode == mode
    x = torch.rand(2, 8, 6, 6)
    whole = network.get_submodule("conv")(x)
    padded = nn.functional.pad(x, (1, 1, 1, 1), mode=mode)
    assert torch.equal(whole, network.get_submodule("conv")(padded)[..., 1:-1, 1:-1])
    with pytest.raises(
        InputError, match=rf"layer conv: pads with {mode}; only zeros are supported"
    ):
        lower(network, mean=[0.5], std=[0.25], image_size=(16, 16))


@pytest.mark.parametrize(
    "layer",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        pruned,
        doubled,
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weights_that_are_changed_from_outside_are_refused(layer: Layer) -> None:
    with pytest.raises(InputError, match=r"^layer conv \(\w+\): .* make it permanent"):
        convert(Recurrent(layer), weight_bits=2, activation_bits=2)


def test_what_was_made_permanent_is_taken() -> None:
    def made(layer: nn.Conv2d) -> nn.Module:
        found: nn.Module = prune.remove(pruned(layer), "weight")
        return found

    assert convert(Recurrent(made), weight_bits=2, activation_bits=2)


def test_convolutions_of_their_own_kind_are_refused() -> None:
    with pytest.raises(InputError, match=r"^layer conv \(Masked\): a subclass of Conv2d"):
        convert(Recurrent(lambda _: Masked(8, 8, 3)), weight_bits=2, activation_bits=2)


def test_the_check_before_training_builds_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "from test_unusual import Recurrent\n"
        "def good(classes, **_): return Recurrent(classes=classes)\n"
        "def bad(classes, **_): return Recurrent(padding_mode='reflect', classes=classes)\n"
    )
    points = {"good": "own:good", "bad": "own:bad"}
    declare(tmp_path, monkeypatch, "rolekd.models", points, source)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def params(name: str) -> Params:
        model = {"name": name, "width": 8}
        data = {"source": "image-folder", "path": "x", "image_size": 16, "channels": 1}
        student = {"model": model, "quantizer": "lsq"}
        return Params.model_validate({"data": data, "student": student})

    checks.check(params("good"))
    with pytest.raises(InputError, match=r"student\.model bad: layer conv: pads with reflect"):
        checks.check(params("bad"))

    def refuse(*_: object) -> None:
        raise InputError("layer x: has no form")

    monkeypatch.setattr(graph, "build", refuse)
    with pytest.raises(InputError, match=r"student\.model good: layer x: has no form"):
        checks.check(params("good"))
