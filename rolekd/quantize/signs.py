"""Which values of a network can never be negative."""

import operator

import torch
from torch import fx, nn
from torch.nn import functional as F

_MODULES = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Hardsigmoid)
_FUNCTIONS = (torch.relu, F.relu, F.relu6, torch.sigmoid, F.hardsigmoid, "relu", "sigmoid")
# not negative if none of their inputs is
_KEEPING_MODULES = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Identity,
    nn.Flatten,
)
_KEEPING_FUNCTIONS = (torch.cat, torch.flatten, F.adaptive_avg_pool2d, F.max_pool2d, "flatten")
# the same, but a constant among their inputs might be negative
_COMBINING = (
    operator.add,
    operator.iadd,
    operator.mul,
    operator.imul,
    torch.add,
    torch.mul,
    "add",
    "mul",
)


def never_negative(node: fx.Node, graph_module: fx.GraphModule) -> bool:
    """Return whether a value cannot be negative, judging by its inputs."""
    if node.op == "call_module":
        module = graph_module.get_submodule(str(node.target))
        sure, keeps = isinstance(module, _MODULES), isinstance(module, _KEEPING_MODULES)
    else:
        combines = node.target in _COMBINING and all(isinstance(x, fx.Node) for x in node.args)
        sure, keeps = node.target in _FUNCTIONS, node.target in _KEEPING_FUNCTIONS or combines
    return sure or (
        keeps and all(never_negative(source, graph_module) for source in node.all_input_nodes)
    )
