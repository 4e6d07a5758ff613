"""The gradient rule of MHGD and KD-SVD."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_TINY = 1e-30


def share(epoch: int) -> float:
    """Return the sigmoid of the epoch, 1/2 in the first: what clipped gradients may reach."""
    return 1 / (1 + math.exp(-epoch))


@torch.no_grad()
def clip(
    gradients: Sequence[Tensor | None], references: Sequence[Tensor | None], limit: float
) -> list[Tensor | None]:
    """Clip each tensor's gradient to `limit` times the length of its reference.

    No reference, or one of zeros, leaves nothing of a gradient.

    Source: Lee et al. 2018, section 3.3, in the form of Fu et al.'s code: the sigmoid of the
    epoch in place of the ratio of the losses.
    """
    pairs = [
        (index, gradient, reference)
        for index, (gradient, reference) in enumerate(zip(gradients, references, strict=True))
        if gradient is not None and reference is not None
    ]
    clipped: list[Tensor | None] = [None] * len(gradients)
    if pairs:
        places, ours, theirs = zip(*pairs, strict=True)
        # one kernel for all tensors; nothing waits for a GPU
        lengths, allowed = torch._foreach_norm(ours), torch._foreach_norm(theirs)
        for place, gradient, length, most in zip(places, ours, lengths, allowed, strict=True):
            clipped[place] = gradient * (limit * most / (length + _TINY)).clamp(max=1)
    return clipped
