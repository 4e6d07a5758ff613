"""ReLUs in front of quantisers, without a backward pass of their own.

A quantiser that clips at zero passes no gradient where its input is not positive; the ReLU before
it would look at every value once more to find the same places.
"""

import torch
from torch import Tensor, fx, nn

from rolekd.quantize.quantizer import ActivationQuantizer


class _Clipped(torch.autograd.Function):
    """max(x, 0), with the identity as its gradient."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient


class LeadingReLU(nn.ReLU):
    """A ReLU whose value only quantisers take that clip at zero.

    With a hook that looks at its value, as a tap does, or before quantisers that are turned off,
    it is an ordinary one.
    """

    active: bool = True

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map x to max(x, 0)."""
        if self._forward_hooks or not self.active:
            return super().forward(input)
        return _Clipped.apply(input)  # type: ignore[no-any-return]


def lead(graph_module: fx.GraphModule) -> None:
    """Put a `LeadingReLU` where every call of a ReLU leads to quantisers alone."""
    modules = dict(graph_module.named_modules())
    calls: dict[str, list[fx.Node]] = {}
    for node in graph_module.graph.nodes:
        if node.op == "call_module" and type(modules[str(node.target)]) is nn.ReLU:
            calls.setdefault(str(node.target), []).append(node)
    for path, nodes in calls.items():
        if all(_clips(user, modules) for node in nodes for user in node.users):
            graph_module.set_submodule(path, LeadingReLU())


def _clips(user: fx.Node, modules: dict[str, nn.Module]) -> bool:
    module = modules[str(user.target)] if user.op == "call_module" else None
    return isinstance(module, ActivationQuantizer) and module.clips_gradient
