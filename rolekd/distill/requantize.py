"""The teacher's features on the student's levels: all that a low-bit student can reach."""

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from rolekd.quantize.quantizer import ActivationQuantizer


def quantizers(student: nn.Module, paths: Sequence[str]) -> tuple[ActivationQuantizer, ...]:
    """Return the student's quantiser of each tapped feature; none for a float network.

    It is the one that takes the feature; if none does, as for the last feature before the pooling,
    the last that ran before it; if none ran before, the first after it.
    """
    if not isinstance(student, fx.GraphModule):
        return ()
    calls = [node for node in student.graph.nodes if node.op == "call_module"]
    modules = {node: student.get_submodule(str(node.target)) for node in calls}
    found = []
    for path in paths:
        tap = [node for node in calls if node.target == path][-1]
        place = calls.index(tap)
        order = [*tap.users, *reversed(calls[:place]), *calls[place:]]
        near = (modules.get(node) for node in order)
        quantizer = next((m for m in near if isinstance(m, ActivationQuantizer)), None)
        if quantizer is None:
            return ()
        found.append(quantizer)
    return tuple(found)


@torch.no_grad()
def requantized(feature: Tensor, quantizer: ActivationQuantizer) -> Tensor:
    """Return a feature map on a quantiser's levels; a learned step neither starts nor learns."""
    training = quantizer.training
    try:
        return quantizer.eval()(feature)  # type: ignore[no-any-return]
    finally:
        quantizer.train(training)
