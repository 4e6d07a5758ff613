"""What a network costs: parameters, bits, bit operations."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from rolekd.quantize.modules import PixelConv2d, QuantConv2d, QuantLinear, quantized
from rolekd.quantize.quantizer import ActivationQuantizer

_FLOAT_BITS, _PIXEL_BITS = 32, 8


@dataclass(frozen=True)
class Size:
    """Cost of a network for one image.

    Attributes:
        parameters: number of weights, biases and BatchNorm parameters (no statistics).
        bits: of all parameters at their own bits.
        multiply_accumulates: of all convolutions and linear layers.
        bit_operations: the same, each weighted with weight bits times activation bits
            (a float operand counts 32 bits).
    """

    parameters: int
    bits: int
    multiply_accumulates: int
    bit_operations: int

    @property
    def bytes(self) -> int:
        """Size of the parameters when they are packed."""
        return -(-self.bits // 8)

    @property
    def bits_per_parameter(self) -> float:
        """Mean bits of a parameter."""
        return self.bits / self.parameters


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer: its own cost, and the bits at which it computes."""

    path: str
    weight_bits: int
    activation_bits: int
    size: Size


def network_size(model: nn.Module, image_shape: tuple[int, int, int]) -> Size:
    """Return the cost of a float or converted network for images of (channels, height, width)."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    bits = _FLOAT_BITS * parameters
    for _, module in quantized(model):
        bits -= module.weight.numel() * (_FLOAT_BITS - module.weight_quantizer.bits)
    costs = [layer.size for layer in layers(model, image_shape)]
    return Size(
        parameters,
        bits,
        sum(cost.multiply_accumulates for cost in costs),
        sum(cost.bit_operations for cost in costs),
    )


def layers(model: nn.Module, image_shape: tuple[int, int, int]) -> list[Layer]:
    """Return the convolutions and linear layers, in the order in which they run.

    Anything else (BatchNorm, learned steps) is the rest of `network_size`.
    """
    inputs = _activation_bits(model)
    found = []
    for path, count in _multiply_accumulates(model, image_shape).items():
        layer = model.get_submodule(path)
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        weight_bits = _FLOAT_BITS
        if isinstance(layer, (QuantConv2d, QuantLinear)):
            weight_bits = layer.weight_quantizer.bits
        activation_bits = inputs.get(path, _FLOAT_BITS)
        biases = 0 if layer.bias is None else layer.bias.numel()
        weights = layer.weight.numel()
        cost = Size(
            weights + biases,
            weight_bits * weights + _FLOAT_BITS * biases,
            count,
            count * weight_bits * activation_bits,
        )
        found.append(Layer(path, weight_bits, activation_bits, cost))
    return found


def _activation_bits(model: nn.Module) -> dict[str, int]:
    """Return the bits of each layer's input, if that is quantised."""
    if not isinstance(model, fx.GraphModule):
        return {}
    modules = dict(model.named_modules())
    bits = {path: _PIXEL_BITS for path, m in modules.items() if isinstance(m, PixelConv2d)}
    for node in model.graph.nodes:
        quantizer = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(quantizer, ActivationQuantizer):
            bits |= {str(user.target): quantizer.bits for user in node.users}
    return bits


@torch.no_grad()
def _multiply_accumulates(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """Run one blank image; return the multiply-accumulates of each layer by path."""
    counts: dict[str, int] = {}

    def counter(path: str, layer: nn.Conv2d | nn.Linear) -> None:
        def count(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            counts[path] = counts.get(path, 0) + output.numel() * layer.weight[0].numel()

        hooks.append(layer.register_forward_hook(count))

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for path, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            counter(path, module)
    training = model.training
    try:
        device = next(model.parameters()).device
        model.eval()(torch.zeros(1, *image_shape, device=device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return counts
