"""Conversion: what is quantised, what stays float, what is shared."""

import copy

import pytest
import torch
from torch import Tensor, fx, nn

from rolekd.errors import InputError
from rolekd.models import Taps, build
from rolekd.quantize import convert
from rolekd.quantize.convert import QuantConv2d
from rolekd.quantize.quantizer import ActivationQuantizer
from rolekd.quantize.relus import LeadingReLU
from rolekd.quantize.size import layers, network_size


def _float_model(name: str = "resnet8", width: int = 4) -> nn.Module:
    return build(name, classes=10, channels=1, image_size=(8, 8), width=width, seed=0)


def _quantizers(model: fx.GraphModule) -> list[fx.Node]:
    modules = dict(model.named_modules())
    return [
        node
        for node in model.graph.nodes
        if node.op == "call_module" and isinstance(modules[str(node.target)], ActivationQuantizer)
    ]


def _users(node: fx.Node) -> set[str]:
    return {str(user.target) if user.op == "call_module" else user.name for user in node.users}


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "alexnet"])
def test_first_convolution_and_classifier_stay_float_all_else_is_quantised(name: str) -> None:
    model = _float_model(name)
    converted = convert(model, weight_bits=3, activation_bits=2)
    for path, module in converted.named_modules():
        if isinstance(module, nn.Conv2d):
            assert isinstance(module, QuantConv2d) == (path != "conv1")
    assert type(converted.get_submodule("classifier")) is nn.Linear
    assert not any(isinstance(module, QuantConv2d) for module in model.modules())


@pytest.mark.parametrize("residual", ["quantized", "float"])
def test_state_dict_is_that_of_the_float_network(residual: str) -> None:
    model = _float_model()
    converted = convert(model, weight_bits=2, activation_bits=2, residual=residual)
    expected, actual = model.state_dict(), converted.state_dict()
    assert set(actual) == set(expected)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    with torch.no_grad():
        converted.get_parameter("conv1.weight").zero_()
    assert model.get_parameter("conv1.weight").any()  # a copy, not a view


def test_low_bit_residual_quantises_a_blocks_input_once_for_branch_and_shortcut() -> None:
    converted = convert(_float_model(), weight_bits=2, activation_bits=2)
    users = {str(node.args[0]): _users(node) for node in _quantizers(converted)}
    assert users["relu"] == {"stage1.0.conv1", "add"}  # identity shortcut
    assert users["stage1_0_relu2"] == {"stage2.0.conv1", "stage2.0.shortcut.0"}
    assert len(users) == 8  # two for each block; none before the pooling


def test_float_residual_adds_the_value_before_quantisation() -> None:
    converted = convert(_float_model(), weight_bits=2, activation_bits=2, residual="float")
    users = {str(node.args[0]): _users(node) for node in _quantizers(converted)}
    assert users["relu"] == {"stage1.0.conv1"}
    assert users["stage1_0_relu2"] == {"stage2.0.conv1", "stage2.0.shortcut.0"}


def test_quantised_inputs_and_weights_take_few_values() -> None:
    converted = convert(_float_model(), weight_bits=2, activation_bits=3)
    seen: dict[str, Tensor] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen["input"] = inputs[0].detach()

    converted.get_submodule("stage2.0.conv1").register_forward_hook(keep)
    converted(torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    levels = seen["input"] * 7
    assert torch.equal(levels, levels.round())
    assert levels.max() == 7
    layer = converted.get_submodule("stage2.0.conv1")
    assert isinstance(layer, QuantConv2d)
    assert len(layer.weight_quantizer(layer.weight).unique()) == 4


def test_training_reaches_every_weight() -> None:
    converted = convert(_float_model(), weight_bits=2, activation_bits=2)
    converted(torch.randn(8, 1, 8, 8)).square().sum().backward()
    for name, parameter in converted.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def _bits(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Weight and input bits of every quantised convolution."""
    inputs = {
        str(user.target): model.get_submodule(str(node.target)).bits
        for node in _quantizers(model)
        for user in node.users
    }
    return {
        path: (module.weight_quantizer.bits, inputs[path])
        for path, module in model.named_modules()
        if isinstance(module, QuantConv2d)
    }


def test_overrides_give_single_convolutions_other_bits_or_none() -> None:
    overrides = {"*.shortcut.0": 4, "stage3.0.shortcut.0": "float", "stage4.0.conv?": 3}
    converted = convert(_float_model(), weight_bits=2, activation_bits=1, overrides=overrides)
    assert type(converted.get_submodule("stage3.0.shortcut.0")) is nn.Conv2d
    own = {"stage2.0.shortcut.0": (4, 4), "stage4.0.shortcut.0": (4, 4)}
    own |= {"stage4.0.conv1": (3, 3), "stage4.0.conv2": (3, 3)}
    bits = _bits(converted)
    assert {path: bits[path] for path in own} == own
    assert {value for path, value in bits.items() if path not in own} == {(2, 1)}
    assert set(converted.state_dict()) == set(_float_model().state_dict())
    converted(torch.randn(2, 1, 8, 8)).sum().backward()


def test_the_residual_addition_takes_the_finest_levels() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b = (nn.Conv2d(1, 1, 3, padding=1) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).relu()
            return x + self.a(x) + self.b(x)

    converted = convert(Two(), weight_bits=2, activation_bits=2, overrides={"b": 5})
    users = {
        converted.get_submodule(str(node.target)).bits: _users(node)
        for node in _quantizers(converted)
    }
    assert users == {2: {"a"}, 5: {"b", "add"}}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"stage2.0.conv9": 2}, r"overrides\.stage2\.0\.conv9: no such.*stage2\.0\.conv"),
        ({"features.*": 2}, "no such layer; choose one of conv1, stage1"),
        ({"*.conv1": 2, "stage1.*": 4}, "other bits than.*name the path"),
        ({"conv1": 2}, "first convolution stays float"),
        ({"stage1.0.conv1": 9}, "9 is not a number of bits"),
    ],
)
def test_overrides_that_mean_nothing_are_refused(
    overrides: dict[str, object], message: str
) -> None:
    for order in (overrides, dict(reversed(overrides.items()))):
        with pytest.raises(InputError, match=message):
            convert(_float_model(), weight_bits=2, activation_bits=2, overrides=order)


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 1, 3), nn.ConvTranspose2d(1, 1, 3)), r"layer 1 \(ConvTransp"),
        (nn.Sequential(nn.Linear(3, 2)), "does not have a convolution"),
        (_Branching(), "cannot trace"),
        (convert(_float_model(), weight_bits=2, activation_bits=2), "already quantised"),
    ],
)
def test_networks_that_cannot_be_quantised_are_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(model, weight_bits=2, activation_bits=2)


@pytest.mark.parametrize("bits", [0, 9, 33])
def test_bits_outside_1_to_8_are_refused(bits: int) -> None:
    with pytest.raises(InputError, match=f"weight_bits {bits}"):
        convert(_float_model(), weight_bits=bits, activation_bits=2)
    with pytest.raises(InputError, match=f"activation_bits {bits}"):
        convert(_float_model(), weight_bits=2, activation_bits=bits)


def test_size_counts_bits_and_operations() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(2, 4, 1, stride=2),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    plain = network_size(model, (1, 4, 4))
    parameters = 18 + (8 + 4) + 85
    macs = 18 * 16, 8 * 4, 16 * 5
    assert (plain.parameters, plain.bits) == (parameters, 32 * parameters)
    assert plain.multiply_accumulates == sum(macs)
    assert plain.bit_operations == 1024 * sum(macs)
    low = network_size(convert(model, weight_bits=2, activation_bits=3), (1, 4, 4))
    assert low.bits == 32 * (parameters - 8) + 2 * 8
    assert low.bit_operations == 1024 * (macs[0] + macs[2]) + 6 * macs[1]
    assert low.bytes == low.bits // 8


def test_layers_and_what_is_in_none_of_them_add_up_to_the_size() -> None:
    model = convert(_float_model(), weight_bits=2, activation_bits=3, overrides={"stage2.*": 5})
    whole, parts = network_size(model, (1, 8, 8)), layers(model, (1, 8, 8))
    widths = {layer.path: (layer.weight_bits, layer.activation_bits) for layer in parts}
    assert next(iter(widths)) == "conv1"
    assert list(widths)[-1] == "classifier"
    assert widths["conv1"] == widths["classifier"] == (32, 32)
    assert widths["stage2.0.conv2"] == (5, 5)
    assert widths["stage3.0.conv2"] == (2, 3)
    assert sum(layer.size.bit_operations for layer in parts) == whole.bit_operations
    norms = sum(m.weight.numel() * 2 for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert sum(layer.size.parameters for layer in parts) == whole.parameters - norms
    assert sum(layer.size.bits for layer in parts) == whole.bits - 32 * norms


@pytest.mark.parametrize("tapped", [False, True])
@pytest.mark.parametrize("residual", ["quantized", "float"])
@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
def test_relus_before_quantisers_change_no_gradient(
    quantizer: str, residual: str, tapped: bool
) -> None:
    network = build("resnet8", classes=10, channels=3, image_size=(16, 16), width=4, seed=0)
    ours = convert(
        network, weight_bits=2, activation_bits=2, residual=residual, quantizer=quantizer
    )
    plain = copy.deepcopy(ours)
    led = [path for path, module in plain.named_modules() if isinstance(module, LeadingReLU)]
    # the last one goes to the pooling; the stem, if the residual stream is float, to a sum
    assert len(led) == (8 if residual == "quantized" else 7)
    for path in led:
        plain.set_submodule(path, nn.ReLU())
    images = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    paths = ["stage1.0.relu1", "stage3.0.relu2"] if tapped else []
    found = []
    for model in (ours, plain):
        with Taps(model.train(), paths) as taps:
            loss = model(images).square().sum()
            for feature in taps.values():
                loss = loss + (feature - 1).square().sum()
            loss.backward()
        found.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_relus_before_quantisers_that_take_negative_values_stay() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()
    )
    lsq = convert(network, weight_bits=2, activation_bits=2, quantizer="lsq")
    assert not any(isinstance(module, LeadingReLU) for module in lsq.modules())
    kinds = [m.clips for m in lsq.modules() if isinstance(m, ActivationQuantizer)]
    assert kinds == [False]
