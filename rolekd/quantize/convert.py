"""Conversion of a float network into a quantised one, by surgery on its torch.fx graph.

Every convolution but the first, and every linear layer but the last, quantises its weights, and its
input passes through an activation quantiser. A value that several layers use is quantised once for
each number of bits that they need. The ends stay float or have 8 bits: the first convolution, and
the classifier, which is the last layer with weights if that is linear.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from torch import fx, nn
from torch.nn.utils import parametrize

from rolekd.errors import InputError, one_line
from rolekd.quantize import overrides as own
from rolekd.quantize import relus, signs
from rolekd.quantize.channelwise import ChannelWeight
from rolekd.quantize.dorefa import DoReFaActivation, DoReFaWeight
from rolekd.quantize.lsq import LSQActivation, LSQWeight
from rolekd.quantize.modules import PixelConv2d, QuantConv2d, QuantLinear
from rolekd.quantize.quantizer import ActivationQuantizer, WeightQuantizer

Residual = Literal["quantized", "float"]
_Ends = Literal["float", 8]

# name -> what makes quantisers of weights from bits, of activations from bits and may-be-negative
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


def convert(
    model: nn.Module,
    *,
    weight_bits: int,
    activation_bits: int,
    residual: Residual = "quantized",
    quantizer: str = "dorefa",
    overrides: Mapping[str, own.LayerBits] | None = None,
    ends: _Ends = "float",
) -> fx.GraphModule:
    """Return a quantised copy of a float network; the given one does not change.

    Module paths and the names in the state dict are those of `model`, so taps and copied weights
    fit both.

    Args:
        model: float network that torch.fx can trace.
        weight_bits: 1 to 8, of every layer but the ends.
        activation_bits: 1 to 8, of these layers' inputs.
        residual: "quantized": other users of a quantised input, such as the residual addition,
            take the quantised value, too; "float": they take the value before quantisation.
        quantizer: "dorefa" or "lsq".
        overrides: other bits of single layers, see `rolekd.quantize.overrides`. If the layers
            that use a value differ, the residual addition takes the finest levels.
        ends: 8: the first convolution has 8-bit weights and acts on the pixels themselves (see
            `rolekd.quantize.modules.set_pixels`), the classifier has 8-bit weights and inputs.

    Raises:
        InputError: bits, quantiser or path are unknown, or a layer cannot be quantised.
    """
    for name, bits in (("weight_bits", weight_bits), ("activation_bits", activation_bits)):
        if not 1 <= bits <= 8:
            raise InputError(f"{name} {bits}: not supported; choose 1 to 8")
    if quantizer not in _QUANTIZERS:
        raise InputError(f"quantizer {quantizer}: unknown; choose {', '.join(_QUANTIZERS)}")
    if residual not in ("quantized", "float"):
        raise InputError(f"residual {residual}: unknown; choose quantized or float")
    if ends not in ("float", 8):
        raise InputError(f"ends {ends}: unknown; choose float or 8")
    make_weight, make_activation = _QUANTIZERS[quantizer]
    for path, module in model.named_modules():  # before the copy, which some of these refuse
        _refuse_unusual(path, module)
    graph_module = _trace(copy.deepcopy(model))
    calls, first, classifier = _layers(graph_module)
    paths = list(dict.fromkeys(str(node.target) for node in calls))
    found = own.resolve(overrides or {}, [path for path in paths if path != classifier], first)
    chosen: dict[fx.Node, int] = {}  # call -> bits of its input
    for node in calls:
        path = str(node.target)
        own_bits = found.get(path)
        if path in (first, classifier) or own_bits == "float":
            continue
        source = graph_module.get_submodule(path)
        weight_quantizer = make_weight(own_bits or weight_bits)
        if isinstance(source, nn.Conv2d) and not isinstance(source, QuantConv2d):
            graph_module.set_submodule(path, QuantConv2d(source, weight_quantizer))
        elif isinstance(source, nn.Linear) and not isinstance(source, QuantLinear):
            graph_module.set_submodule(path, QuantLinear(source, weight_quantizer))
        chosen[node] = own_bits or activation_bits
    for value in dict.fromkeys(node.all_input_nodes[0] for node in chosen):
        signed = not signs.never_negative(value, graph_module)
        for bits, users in _by_bits(value, chosen, residual).items():
            _insert(graph_module, value, users, make_activation(bits, signed))
    if ends == 8:
        _quantize_ends(graph_module, calls, first, classifier)
    relus.lead(graph_module)
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


def _quantize_ends(
    graph_module: fx.GraphModule, calls: Sequence[fx.Node], first: str, classifier: str | None
) -> None:
    """Give 8 bits to the first convolution and to the classifier, with its input."""
    source = graph_module.get_submodule(first)
    assert isinstance(source, nn.Conv2d)
    if source.groups != 1:
        raise InputError(
            f"layer {first}: a grouped first convolution does not have an 8-bit form; set "
            "student.ends to float, or choose another network"
        )
    graph_module.set_submodule(first, PixelConv2d(source))
    if classifier is None:
        return
    last = graph_module.get_submodule(classifier)
    assert isinstance(last, nn.Linear)
    graph_module.set_submodule(classifier, QuantLinear(last, ChannelWeight(8)))
    users: dict[fx.Node, list[fx.Node]] = {}
    for node in calls:
        if node.target == classifier:
            users.setdefault(node.all_input_nodes[0], []).append(node)
    for value, linears in users.items():
        signed = not signs.never_negative(value, graph_module)
        _insert(graph_module, value, linears, LSQActivation(8, signed=signed))


def _by_bits(
    value: fx.Node, chosen: Mapping[fx.Node, int], residual: Residual
) -> dict[int, list[fx.Node]]:
    """Return the users of a value that take it quantised, by the bits of their levels."""
    users = list(value.users)
    widest = max(chosen[user] for user in users if user in chosen)
    groups: dict[int, list[fx.Node]] = {}
    for user in users:
        if user in chosen or residual == "quantized":
            groups.setdefault(chosen.get(user, widest), []).append(user)
    return groups


def _refuse_unusual(path: str, module: nn.Module) -> None:
    """Refuse a layer that does not compute what its class and its weights say.

    Its low-bit copy, and the exported graph, would compute what the class says.
    """
    kind = type(module).__name__
    hooked = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    if parametrize.is_parametrized(module) or (hooked and _is_leaf(module)):
        raise InputError(
            f"layer {path} ({kind}): its weights or values are changed from outside (weight or "
            "spectral norm, pruning, a hook), which has no integer form; build the network "
            "without, or make it permanent (remove_parametrizations, prune.remove)"
        )
    ours = isinstance(module, (QuantConv2d, QuantLinear))  # `_trace` reports what is wrong
    if isinstance(module, (nn.Conv2d, nn.Linear)) and not ours and not _is_leaf(module):
        raise InputError(
            f"layer {path} ({kind}): a subclass of {type(module).__mro__[1].__name__} has no "
            "integer form; use torch.nn's"
        )


def _is_leaf(module: nn.Module) -> bool:
    """Return whether torch.fx treats a module as a leaf, without tracing its forward pass."""
    return type(module).__module__.startswith("torch.nn")


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
        raise InputError(
            f"model {type(model).__name__}: torch.fx cannot trace it ({one_line(error)}); remove "
            "control flow that depends on tensors"
        ) from error


def _layers(graph_module: fx.GraphModule) -> tuple[list[fx.Node], str, str | None]:
    """Return the calls of all layers with weights, in the order in which they run, and the ends.

    The ends are the path of the first convolution, and that of the last layer if it is linear.
    """
    modules = dict(graph_module.named_modules())
    calls = [
        node
        for node in graph_module.graph.nodes
        if node.op == "call_module"
        and isinstance(modules[str(node.target)], (nn.Conv2d, nn.Linear))
    ]
    kinds = {str(node.target): modules[str(node.target)] for node in calls}
    first = next((path for path, kind in kinds.items() if isinstance(kind, nn.Conv2d)), None)
    if first is None:
        raise InputError("model: does not have a convolution to quantise; choose another network")
    last = str(calls[-1].target)
    return calls, first, last if isinstance(kinds[last], nn.Linear) else None


def _insert(
    graph_module: fx.GraphModule,
    value: fx.Node,
    users: list[fx.Node],
    activation_quantizer: ActivationQuantizer,
) -> None:
    """Quantise `value` for `users`."""
    path = f"{value.name}_quantizer"
    if hasattr(graph_module, path):  # there is one with other bits
        path += f"_{activation_quantizer.bits}"
    graph_module.add_submodule(path, activation_quantizer)
    with graph_module.graph.inserting_after(value):
        quantized = graph_module.graph.call_module(path, (value,))
    for user in users:
        user.replace_input_with(value, quantized)
