"""The layers of a converted network, each lowered to integer operations.

Every function takes the walk, the call in the graph and, for modules, the module; it returns the
symbol of the call's value.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from rolekd.errors import InputError
from rolekd.quantize import elementwise, operations
from rolekd.quantize.first_convolution import Filters
from rolekd.quantize.modules import PixelConv2d, QuantConv2d, QuantLinear
from rolekd.quantize.quantizer import ActivationQuantizer, Levels
from rolekd.quantize.symbolic import (
    Combination,
    LevelMap,
    RawImage,
    ScaledTensor,
    Symbol,
    Vector,
    dequantized,
    real,
)

if TYPE_CHECKING:
    from rolekd.quantize.lower import Walk

_INT32_MAX = 2**31 - 1


def _float_convolution(walk: "Walk", node: fx.Node, module: nn.Conv2d) -> Symbol:
    path = walk.name(node)
    if isinstance(walk.symbol(node), RawImage):
        return _image_convolution(walk, path, module)
    value = walk.combination(node)
    source = walk.writer.materialize(value, f"{path}.input")
    walk.writer.emit(
        operations.FloatConvolution(
            path, (source,), module.weight.float(), **_geometry(module, path)
        )
    )
    return _shifted(real(path, module.out_channels), _bias(module))


def _image_convolution(walk: "Walk", path: str, module: nn.Conv2d) -> Symbol:
    if module.groups != 1:
        raise InputError(
            f"layer {path}: a grouped first convolution has no integer form; "
            "choose another network, or export.target float"
        )
    geometry = _geometry(module, path)
    filters = Filters.on_pixels(path, module.weight, walk.mean, walk.std, geometry)
    if not any(isinstance(operation, operations.Pixels) for operation in walk.writer.operations):
        walk.writer.emit(operations.Pixels("pixels", ("image",)))
    one = torch.ones(module.out_channels, dtype=torch.float64)
    return Combination((ScaledTensor(path, one, filters=filters),), _bias(module))


def _pixel_convolution(walk: "Walk", node: fx.Node, module: PixelConv2d) -> Symbol:
    path = walk.name(node)
    if not isinstance(walk.symbol(node), RawImage):
        raise InputError(f"layer {path}: is not on the image, so it has no 8-bit form")
    for name, values in (("mean", walk.mean), ("std", walk.std)):
        own = module.get_buffer(name).double()
        if own.shape != values.shape or not torch.allclose(own, values, rtol=1e-5):
            raise InputError(
                f"layer {path}: was trained on images of another {name}; lower it with that one"
            )
    zero = int(module.zero_point())
    levels = Levels(1 / operations.WHITE, -zero, operations.WHITE - zero)
    source = LevelMap("pixels", module.in_channels, levels, 1)
    if not any(operation.name == source.name for operation in walk.writer.operations):
        walk.writer.emit(operations.CentredPixels(source.name, ("image",), zero))
    integers, step = module.weight_quantizer.integers(module.weights())
    rest = (integers * module.rest().double()).sum((1, 2, 3)) * step
    return _shifted(_convolved(walk, path, module, source, (integers, step)), rest)


def _quantized_convolution(walk: "Walk", node: fx.Node, module: QuantConv2d) -> Symbol:
    path = walk.name(node)
    source = walk.symbol(node)
    assert isinstance(source, LevelMap), f"{path}: conversion puts a quantiser before it"
    return _convolved(
        walk, path, module, source, module.weight_quantizer.integers(module.weights())
    )


def _convolved(
    walk: "Walk",
    path: str,
    module: QuantConv2d,
    source: LevelMap,
    weights: tuple[Tensor, Tensor],
) -> Combination:
    """Write a convolution of levels with integer weights of some steps, [] or [O]."""
    integers, step = weights
    largest, bound = _reach(source, integers, path)
    walk.writer.emit(
        operations.Convolution(
            path, (source.name,), integers, **_geometry(module, path), largest=largest, bound=bound
        )
    )
    scale = (step * source.step).expand(module.out_channels)
    return Combination((ScaledTensor(path, scale),), _bias(module))


def _reach(source: LevelMap, integers: Tensor, path: str) -> tuple[int, int]:
    """Return the largest magnitudes of an input and of a sum."""
    largest = source.unit * max(abs(source.levels.low), abs(source.levels.high))
    bound = int(integers.double().abs().flatten(1).sum(1).max()) * largest
    if bound > _INT32_MAX:
        raise InputError(f"layer {path}: its sums reach {bound}, beyond 32 bits; use fewer bits")
    return largest, bound


def _quantize(walk: "Walk", node: fx.Node, module: ActivationQuantizer) -> Symbol:
    source = node.all_input_nodes[0]
    value = walk.symbol(node)
    if isinstance(value, LevelMap):
        value = dequantized(value)
    if isinstance(value, Vector):
        value = real(value.name, 1)  # one scale for all its features
    if not isinstance(value, Combination):
        raise InputError(
            f"layer {node.target}: does not quantise a feature map; keep the next layer float"
        )
    if value.waiting and len(source.users) > 1:  # the others need the value before rounding
        value = walk.settled(source, value)
    return walk.writer.requantize(value, walk.name(node), module.levels())


def _batch_norm(walk: "Walk", node: fx.Node, module: nn.BatchNorm2d) -> Symbol:
    if module.running_mean is None or module.running_var is None:
        raise InputError(f"layer {node.target}: does not keep running statistics; turn them on")
    scale = (module.running_var.double() + module.eps).rsqrt()
    if module.affine:
        scale = scale * module.weight.double()
    shift = -module.running_mean.double() * scale
    if module.affine:
        shift = shift + module.bias.double()
    return walk.combination(node).transformed(scale, shift)


def _max_pool(walk: "Walk", node: fx.Node, module: nn.MaxPool2d) -> Symbol:
    path = walk.name(node)
    if _pair(module.dilation, path) != (1, 1) or module.return_indices:
        raise InputError(f"layer {path}: dilated pooling has no integer form; use plain pooling")
    pool = operations.MaxPool(
        "",
        (),
        kernel=_pair(module.kernel_size, path),
        stride=_pair(module.stride, path),
        padding=_pair(module.padding, path),
        ceil=module.ceil_mode,
    )
    value = walk.symbol(node)
    if isinstance(value, LevelMap):
        name = walk.writer.emit(replace(pool, name=path, inputs=(value.name,)))
        return replace(value, name=name)
    if isinstance(value, Combination):
        return value.then(pool)
    raise InputError(f"layer {path}: does not pool a feature map; use it between convolutions")


def _average_pool(walk: "Walk", node: fx.Node, module: nn.AdaptiveAvgPool2d) -> Symbol:
    if module.output_size not in (1, (1, 1)):
        raise InputError(f"layer {node.target}: has an integer form only for output 1x1")
    return _mean(walk, node)


def _pooled(walk: "Walk", node: fx.Node) -> Symbol:
    if len(node.args) != 2 or node.args[1] not in (1, (1, 1)):
        raise InputError(f"layer {node.name}: has an integer form only for output 1x1")
    return _mean(walk, node)


def _mean_call(walk: "Walk", node: fx.Node) -> Symbol:
    """Lower x.mean([2, 3]), which is flat, or x.mean([2, 3], keepdim=True)."""
    axes, keeps = node.args[1:], node.kwargs.get("keepdim", False)
    if node.kwargs.keys() - {"keepdim"} or axes not in (((2, 3),), ([2, 3],)):
        raise InputError(f"layer {node.name}: has an integer form only as a mean over [2, 3]")
    pooled = _mean(walk, node)
    if keeps:
        return pooled
    assert isinstance(pooled, Combination)
    name = f"{node.name}.flat"
    return Vector(walk.writer.emit(operations.Flatten(name, (pooled.terms[0].name,))))


def _mean(walk: "Walk", node: fx.Node) -> Symbol:
    value = walk.combination(node)
    source = walk.writer.materialize(value, f"{node.name}.input")
    fixed = walk.reaches_a_quantizer(node)
    name = walk.writer.emit(operations.GlobalAveragePool(node.name, (source,), fixed))
    return real(name, len(value.bias))


def _flatten(walk: "Walk", node: fx.Node, _module: nn.Module | None = None) -> Symbol:
    value = walk.symbol(node)
    if isinstance(value, Vector):
        return value
    source = walk.writer.materialize(walk.combination(node), f"{node.name}.input")
    return Vector(walk.writer.emit(operations.Flatten(node.name, (source,))))


def _linear(walk: "Walk", node: fx.Node, module: nn.Linear) -> Symbol:
    value = walk.symbol(node)
    if not isinstance(value, Vector):
        raise InputError(f"layer {node.target}: does not take a feature map; flatten it first")
    weight = module.weight.float()
    bias = torch.zeros(len(weight)) if module.bias is None else module.bias.float()
    return Vector(walk.writer.emit(operations.Linear(walk.name(node), (value.name,), weight, bias)))


def _quantized_linear(walk: "Walk", node: fx.Node, module: QuantLinear) -> Symbol:
    path = walk.name(node)
    source = walk.symbol(node)
    assert isinstance(source, LevelMap), f"{path}: conversion puts a quantiser before it"
    integers, step = module.weight_quantizer.integers(module.weights())
    largest, bound = _reach(source, integers, path)
    walk.writer.emit(operations.IntegerLinear(path, (source.name,), integers, largest, bound))
    scale = (step * source.step).expand(module.out_features)
    value = Combination((ScaledTensor(path, scale),), _bias(module))
    return Vector(walk.writer.materialize(value, path))


MODULES: dict[type[nn.Module], Callable[["Walk", fx.Node, Any], Symbol]] = {
    PixelConv2d: _pixel_convolution,  # each before its base class
    QuantConv2d: _quantized_convolution,
    QuantLinear: _quantized_linear,
    nn.Conv2d: _float_convolution,
    ActivationQuantizer: _quantize,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.AdaptiveAvgPool2d: _average_pool,
    nn.Flatten: _flatten,
    nn.Linear: _linear,
    **elementwise.MODULES,
}
FUNCTIONS: dict[Any, Callable[["Walk", fx.Node], Symbol]] = {
    torch.flatten: _flatten,
    "flatten": _flatten,
    F.adaptive_avg_pool2d: _pooled,
    torch.mean: _mean_call,
    "mean": _mean_call,
    **elementwise.FUNCTIONS,
}


def _shifted(value: Combination, bias: Tensor) -> Combination:
    return replace(value, bias=value.bias + bias)


def _bias(module: nn.Conv2d | nn.Linear) -> Tensor:
    if module.bias is None:
        return torch.zeros(len(module.weight), dtype=torch.float64)
    return module.bias.double()


def _geometry(module: nn.Conv2d, path: str) -> dict[str, Any]:
    if module.padding_mode != "zeros":
        raise InputError(f"layer {path}: pads with {module.padding_mode}; only zeros are supported")
    return {
        "stride": _pair(module.stride, path),
        "padding": _padding(module, path),
        "dilation": _pair(module.dilation, path),
        "groups": module.groups,
    }


def _padding(module: nn.Conv2d, path: str) -> tuple[int, int]:
    """Return the zeros before and after the rows and the columns of a map."""
    if module.padding == "valid":
        return 0, 0
    if module.padding != "same":
        return _pair(module.padding, path)
    kernel, dilation = _pair(module.kernel_size, path), _pair(module.dilation, path)
    height, width = (step * (size - 1) for step, size in zip(dilation, kernel, strict=True))
    if height % 2 or width % 2:
        raise InputError(
            f"layer {path}: pads one side more than the other, as an even kernel must to keep the "
            "size; use an odd one"
        )
    return height // 2, width // 2


def _pair(value: object, path: str) -> tuple[int, int]:
    match value:
        case int():
            return value, value
        case (int() as first, int() as second):
            return first, second
    raise InputError(f"layer {path}: size {value} is not known; give it in numbers")
