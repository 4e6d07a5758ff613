"""Conversion of a float network into a quantised one, by surgery on its torch.fx graph.

The first convolution and the classifier stay float; every other convolution quantises its
weights, and its input passes through an activation quantiser. A value that several layers use is
quantised once.
"""

import copy
import difflib
from collections.abc import Callable, Collection
from typing import Literal

from torch import Tensor, fx, nn
from torch.nn import functional as F

from rolekd.errors import InputError
from rolekd.quantize import signs
from rolekd.quantize.dorefa import DoReFaActivation, DoReFaWeight
from rolekd.quantize.lsq import LSQActivation, LSQWeight
from rolekd.quantize.quantizer import ActivationQuantizer, WeightQuantizer

Residual = Literal["low-bit", "float"]

# name -> (weights of some bits, activations of some bits that may be negative or not)
_QUANTIZERS: dict[
    str, tuple[Callable[[int], WeightQuantizer], Callable[[int, bool], ActivationQuantizer]]
] = {
    "dorefa": (DoReFaWeight, lambda bits, _signed: DoReFaActivation(bits)),  # clips at zero
    "lsq": (LSQWeight, lambda bits, signed: LSQActivation(bits, signed=signed)),
}
_UNSUPPORTED = (
    nn.Conv1d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.RNNBase,
    nn.MultiheadAttention,
)


class QuantConv2d(nn.Conv2d):
    """A convolution that uses quantised weights; `weight` keeps the float ones.

    Takes over the parameters of `source`, so names in the state dict stay as they were.
    """

    def __init__(self, source: nn.Conv2d, weight_quantizer: WeightQuantizer) -> None:
        super().__init__(
            source.in_channels,
            source.out_channels,
            source.kernel_size,  # type: ignore[arg-type]
            source.stride,  # type: ignore[arg-type]
            source.padding,  # type: ignore[arg-type]
            source.dilation,  # type: ignore[arg-type]
            source.groups,
            bias=source.bias is not None,
            device="meta",
        )
        self.weight = source.weight
        self.bias = source.bias
        self.weight_quantizer = weight_quantizer

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map quantised activations [N, I, H, W] to [N, O, H', W']."""
        return F.conv2d(
            input,
            self.weight_quantizer(self.weight),
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


def convert(
    model: nn.Module,
    *,
    weight_bits: int,
    activation_bits: int,
    residual: Residual = "low-bit",
    quantizer: str = "dorefa",
    keep: Collection[str] = (),
) -> fx.GraphModule:
    """Return a quantised copy of a float network; the given one stays as it is.

    Module paths and the names in the state dict are those of `model`, so taps and copied weights
    fit both.

    Args:
        model: float network that torch.fx can trace.
        weight_bits: 1 to 8, of every convolution but the first and those of `keep`.
        activation_bits: 1 to 8, of these convolutions' inputs.
        residual: "low-bit": whatever else uses a quantised input (the residual addition) takes
            the quantised value too; "float": it takes the value before quantisation.
        quantizer: "dorefa" or "lsq".
        keep: module paths of further convolutions that stay float.

    Raises:
        InputError: bits, quantiser or path are unknown, or a layer cannot be quantised.
    """
    for name, bits in (("weight_bits", weight_bits), ("activation_bits", activation_bits)):
        if not 1 <= bits <= 8:
            raise InputError(f"{name} {bits}: not supported; choose 1 to 8")
    if quantizer not in _QUANTIZERS:
        raise InputError(f"quantizer {quantizer}: unknown; choose {', '.join(_QUANTIZERS)}")
    if residual not in ("low-bit", "float"):
        raise InputError(f"residual {residual}: unknown; choose low-bit or float")
    make_weight, make_activation = _QUANTIZERS[quantizer]
    graph_module = _trace(copy.deepcopy(model))
    chosen = _choose(graph_module, keep)
    for node in chosen:
        path = str(node.target)
        source = graph_module.get_submodule(path)
        if isinstance(source, nn.Conv2d) and not isinstance(source, QuantConv2d):
            graph_module.set_submodule(path, QuantConv2d(source, make_weight(weight_bits)))
    for value in dict.fromkeys(node.all_input_nodes[0] for node in chosen):
        users = [node for node in value.users if residual == "low-bit" or node in chosen]
        signed = not signs.never_negative(value, graph_module)
        _insert(graph_module, value, users, make_activation(activation_bits, signed))
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


def _trace(model: nn.Module) -> fx.GraphModule:
    for path, module in model.named_modules():
        if isinstance(module, (WeightQuantizer, ActivationQuantizer)):
            raise InputError("model: already quantised; convert the float network instead")
        if isinstance(module, _UNSUPPORTED):
            raise InputError(
                f"layer {path} ({type(module).__name__}): cannot be quantised; use a network of "
                "two-dimensional convolutions"
            )
    try:
        return fx.symbolic_trace(model)
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"model {type(model).__name__}: torch.fx cannot trace it ({reason}); remove control "
            "flow that depends on tensors"
        ) from error


def _choose(graph_module: fx.GraphModule, keep: Collection[str]) -> list[fx.Node]:
    """Return the calls of the convolutions to quantise, in the order in which they run."""
    modules = dict(graph_module.named_modules())
    calls = [
        node
        for node in graph_module.graph.nodes
        if node.op == "call_module" and isinstance(modules[str(node.target)], nn.Conv2d)
    ]
    if not calls:
        raise InputError("model: has no convolution to quantise; choose another network")
    paths = {str(node.target) for node in calls}
    for path in keep:
        if path not in paths:
            near = difflib.get_close_matches(path, paths, n=3, cutoff=0.4) or sorted(paths)
            raise InputError(f"keep {path}: no such convolution; did you mean {', '.join(near)}?")
    first = calls[0].target
    return [node for node in calls if node.target != first and node.target not in keep]


def _insert(
    graph_module: fx.GraphModule,
    value: fx.Node,
    users: list[fx.Node],
    activation_quantizer: ActivationQuantizer,
) -> None:
    """Quantise `value` for `users`."""
    path = f"{value.name}_quantizer"
    graph_module.add_submodule(path, activation_quantizer)
    with graph_module.graph.inserting_after(value):
        quantized = graph_module.graph.call_module(path, (value,))
    for user in users:
        user.replace_input_with(value, quantized)
