"""Lowering: from a trained, converted network to integer operations on raw images."""

import copy
from collections import Counter
from collections.abc import Sequence

import torch
from torch import fx, nn

from rolekd.errors import InputError
from rolekd.quantize.integer import IntegerModel
from rolekd.quantize.layers import FUNCTIONS, MODULES
from rolekd.quantize.quantizer import ActivationQuantizer
from rolekd.quantize.symbolic import (
    Combination,
    LevelMap,
    RawImage,
    Symbol,
    Vector,
    Writer,
    dequantized,
    real,
)


def lower(
    model: nn.Module,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    image_size: tuple[int, int],
    strict: bool = False,
) -> IntegerModel:
    """Turn a converted network into integer operations on raw images.

    BatchNorm's running statistics are folded in, as in evaluation mode.

    Args:
        model: a network that `convert` returned.
        mean: of the training pixels per channel, in 0..1, with which the network was trained.
        std: their standard deviation.
        image_size: (height, width) of the raw images.
        strict: refuse layers without an exact integer form.

    Raises:
        InputError: the network is not converted, has a layer without an integer form, has
            weights that are not finite, or could overflow 32-bit sums.
    """
    if not isinstance(model, fx.GraphModule) or not any(
        isinstance(module, ActivationQuantizer) for module in model.modules()
    ):
        raise InputError("model: not quantised; convert it before it is lowered to integers")
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise InputError(f"weights {name}: not all finite; train again or take another state")
    frozen = copy.deepcopy(model).cpu().requires_grad_(False)
    walk = Walk(frozen, tuple(mean), tuple(std))
    with torch.no_grad():
        output = walk.run()
    result = IntegerModel(tuple(walk.writer.operations), (*image_size, len(mean)), output)
    if strict and result.inexact:
        raise InputError(
            f"layers {', '.join(result.inexact)}: no exact integer form; quantise them, or set "
            "export.strict to false"
        )
    return result


class Walk:
    """One walk over a converted network's graph, with a symbol for every value."""

    def __init__(
        self, model: fx.GraphModule, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        self.writer = Writer()
        self.mean = torch.tensor(mean, dtype=torch.float64)
        self.std = torch.tensor(std, dtype=torch.float64)
        self._model = model
        self._symbols: dict[fx.Node, Symbol] = {}
        self._names = _names(model)

    def run(self) -> str:
        """Return the name of the operation that gives the logits."""
        result: Symbol | None = None
        for node in self._model.graph.nodes:
            if node.op == "placeholder":
                self._symbols[node] = RawImage()
            elif node.op == "output":
                result = self._symbols[node.all_input_nodes[0]]
            else:
                self._symbols[node] = self._call(node)
        if not isinstance(result, Vector):
            raise InputError("model: does not end in a classifier; use one that does")
        return result.name

    def name(self, node: fx.Node) -> str:
        """Return the name of a module's call in operations: its path, then PATH#2 and so on."""
        return self._names[node]

    def symbol(self, node: fx.Node, index: int = 0) -> Symbol:
        """Return the symbol of a call's argument."""
        return self._symbols[node.all_input_nodes[index]]

    def combination(self, node: fx.Node, index: int = 0) -> Combination:
        """Return a call's argument as a combination without waiting operations."""
        symbol = self.symbol(node, index)
        if isinstance(symbol, LevelMap):
            return dequantized(symbol)
        if not isinstance(symbol, Combination):
            raise InputError(f"layer {node.target}: takes a feature map; use it between others")
        return self.settled(node.all_input_nodes[index], symbol) if symbol.waiting else symbol

    def settled(self, source: fx.Node, value: Combination) -> Combination:
        """Write a value out as a float tensor, once for all its users."""
        made = real(self.writer.materialize(value, source.name), len(value.bias))
        self._symbols[source] = made
        return made

    def reaches_a_quantizer(self, node: fx.Node) -> bool:
        """Return whether a value is rounded to levels anywhere later."""
        waiting, seen = list(node.users), set(node.users)
        while waiting:
            user = waiting.pop()
            if user.op == "call_module" and isinstance(
                self._model.get_submodule(str(user.target)), ActivationQuantizer
            ):
                return True
            fresh = [later for later in user.users if later not in seen]
            seen.update(fresh)
            waiting += fresh
        return False

    def _call(self, node: fx.Node) -> Symbol:
        if node.op == "call_module":
            module = self._model.get_submodule(str(node.target))
            for kind, handle_module in MODULES.items():
                if isinstance(module, kind):
                    return handle_module(self, node, module)
            what = f"{node.target} ({type(module).__name__})"
        else:
            handle = FUNCTIONS.get(node.target)
            if handle is not None:
                return handle(self, node)
            what = f"{node.name} ({getattr(node.target, '__name__', node.target)})"
        raise InputError(f"layer {what}: has no integer form; use a supported layer instead")


def _names(model: fx.GraphModule) -> dict[fx.Node, str]:
    """Return a name for every call of a module; each further call needs its own."""
    calls: Counter[str] = Counter()
    names = {}
    for node in model.graph.nodes:
        if node.op == "call_module":
            path = str(node.target)
            calls[path] += 1
            names[node] = path if calls[path] == 1 else f"{path}#{calls[path]}"
    return names
