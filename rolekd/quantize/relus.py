"""ReLUs before quantisers that clip at zero and so do the ReLU's work."""

from torch import Tensor, fx, nn

from rolekd.quantize.quantizer import ActivationQuantizer


class LeadingReLU(nn.ReLU):
    """A ReLU that is followed only by quantisers that clip at zero: it passes its input on.

    A ReLU would not change their results, and would stop only the gradients that they stop: it
    would only cost time. With a hook that reads its value, as a tap has, or before quantisers that
    are off, this is an ordinary ReLU.
    """

    active: bool = True

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map x to max(x, 0), or leave this to the quantisers."""
        return super().forward(input) if self._forward_hooks or not self.active else input


def lead(graph_module: fx.GraphModule) -> None:
    """Replace each ReLU all of whose calls lead to quantisers alone by a `LeadingReLU`."""
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
    return isinstance(module, ActivationQuantizer) and module.clips
