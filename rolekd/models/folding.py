"""Frozen networks without BatchNorms, whose scales and shifts move into the convolutions."""

import copy
from collections.abc import Collection

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rolekd.models.pointwise import as_products


def folded(network: nn.Module, keep: Collection[str] = ()) -> nn.Module:
    """Return a copy for evaluation only, with BatchNorms merged into the convolutions before them.

    BatchNorms are a fifth of the time of a small network's forward pass (results/step.md lists what
    made steps faster). Module paths stay; the identity replaces a BatchNorm.

    Args:
        network: In evaluation mode; it stays as it is. What torch.fx cannot trace is returned.
        keep: Paths of convolutions whose own output is wanted.
    """
    try:
        graph_module = fx.symbolic_trace(copy.deepcopy(network))
    except (fx.proxy.TraceError, TypeError, RuntimeError):
        return network
    modules = dict(graph_module.named_modules())
    calls = [str(node.target) for node in graph_module.graph.nodes if node.op == "call_module"]
    for node in graph_module.graph.nodes:
        pair = _convolution_and_norm(node, modules)
        if pair is None:
            continue
        paths = [str(node.all_input_nodes[0].target), str(node.target)]
        if paths[0] in keep or any(calls.count(path) > 1 for path in paths):
            continue
        graph_module.set_submodule(paths[0], fuse_conv_bn_eval(*pair))
        graph_module.set_submodule(paths[1], nn.Identity())
    graph_module.recompile()
    # as oneDNN takes them on such maps: it need not reorder them in every pass
    graph_module.to(memory_format=torch.channels_last)
    as_products(graph_module)
    return graph_module.eval().requires_grad_(False)


def _convolution_and_norm(
    node: fx.Node, modules: dict[str, nn.Module]
) -> tuple[nn.Conv2d, nn.BatchNorm2d] | None:
    """Return the modules where a call is of a BatchNorm on a convolution that only it uses."""
    if node.op != "call_module" or len(node.all_input_nodes) != 1:
        return None
    source, norm = node.all_input_nodes[0], modules[str(node.target)]
    if source.op != "call_module" or len(source.users) != 1:
        return None
    convolution = modules[str(source.target)]
    if type(convolution) is not nn.Conv2d or not isinstance(norm, nn.BatchNorm2d):
        return None
    return None if norm.running_mean is None else (convolution, norm)
