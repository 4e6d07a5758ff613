"""How layers that act on each value alone, and sums and products of maps, are lowered."""

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from rolekd.errors import InputError
from rolekd.quantize import operations
from rolekd.quantize.symbolic import LevelMap, Symbol, Vector, real

if TYPE_CHECKING:
    from rolekd.quantize.lower import Walk


def _relu(
    walk: "Walk", node: fx.Node, _module: nn.Module | None = None, limit: float | None = None
) -> Symbol:
    value = walk.symbol(node)
    if isinstance(value, Vector):
        return Vector(walk.writer.emit(operations.Relu(node.name, (value.name,), limit)))
    if isinstance(value, LevelMap) and value.levels.low >= 0 and limit is None:
        return value
    return walk.combination(node).then(operations.Relu("", (), limit))


def _relu6(walk: "Walk", node: fx.Node, _module: nn.Module | None = None) -> Symbol:
    return _relu(walk, node, limit=6.0)


def _hard_sigmoid(walk: "Walk", node: fx.Node, _module: nn.Module | None = None) -> Symbol:
    return _bent(walk, node, operations.HardSigmoid)


def _hard_swish(walk: "Walk", node: fx.Node, _module: nn.Module | None = None) -> Symbol:
    return _bent(walk, node, operations.HardSwish)


def _bent(
    walk: "Walk",
    node: fx.Node,
    kind: type[operations.HardSigmoid] | type[operations.HardSwish],
) -> Symbol:
    """Write a function that cannot wait for the quantiser, since it is not monotone throughout."""
    value = walk.symbol(node)
    if isinstance(value, Vector):
        return Vector(walk.writer.emit(kind(node.name, (value.name,))))
    source = walk.combination(node)
    made = walk.writer.materialize(source, f"{node.name}.input")
    return real(walk.writer.emit(kind(node.name, (made,))), len(source.bias))


def _multiply(walk: "Walk", node: fx.Node, _module: nn.Module | None = None) -> Symbol:
    _two_maps(node, "multiplies by")
    factors = [walk.combination(node, index) for index in (0, 1)]
    made = tuple(
        walk.writer.materialize(factor, f"{node.name}.input{index}")
        for index, factor in enumerate(factors)
    )
    return real(walk.writer.emit(operations.Multiply(node.name, made)), len(factors[0].bias))


def _add(walk: "Walk", node: fx.Node, _module: nn.Module | None = None) -> Symbol:
    _two_maps(node, "adds")
    return walk.combination(node, 0).plus(walk.combination(node, 1))


def _two_maps(node: fx.Node, what: str) -> None:
    if len(node.all_input_nodes) != 2 or len(node.args) != 2 or node.kwargs:
        raise InputError(
            f"layer {node.name}: {what} a constant or itself, which has no integer form; "
            "use two feature maps"
        )


def _same(walk: "Walk", node: fx.Node, _module: nn.Module | None = None) -> Symbol:
    return walk.symbol(node)


MODULES: dict[type[nn.Module], Callable[["Walk", fx.Node, Any], Symbol]] = {
    nn.ReLU6: _relu6,
    nn.ReLU: _relu,
    nn.Hardsigmoid: _hard_sigmoid,
    nn.Hardswish: _hard_swish,
    nn.Dropout: _same,
    nn.Identity: _same,
}
FUNCTIONS: dict[Any, Callable[["Walk", fx.Node], Symbol]] = {
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    "add": _add,
    operator.mul: _multiply,
    operator.imul: _multiply,
    torch.mul: _multiply,
    "mul": _multiply,
    torch.relu: _relu,
    F.relu: _relu,
    "relu": _relu,
    F.relu6: _relu6,
    F.hardsigmoid: _hard_sigmoid,
    F.hardswish: _hard_swish,
}
