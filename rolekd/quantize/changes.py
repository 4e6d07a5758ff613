"""How many weights of a low-bit network have moved to another level."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rolekd.quantize.modules import low_bit


@torch.no_grad()
def levels(network: nn.Module) -> list[Tensor]:
    """Return the levels of the low-bit weights, an int16 tensor for each layer; none if float.

    Those of 8-bit ends are not included.
    """
    found = (m.weight_quantizer.levels(m.weights()) for _, m in low_bit(network))
    return [layer.short() for layer in found]


def share_changed(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Return the share of weights, 0..1, whose level has changed."""
    changed = torch.stack([(a != b).sum() for a, b in zip(before, after, strict=True)]).sum()
    return float(changed) / sum(layer.numel() for layer in before)
