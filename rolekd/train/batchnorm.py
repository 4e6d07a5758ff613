"""BatchNorm statistics that fit the final weights.

The running statistics of a training are moving averages over weights that have changed since. In a
low-bit network a changed weight jumps to another level, so they may be far from what the final
weights give.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def reestimate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Recompute the running statistics of every BatchNorm as means over `batches`.

    Weights, quantisers and dropout are as in evaluation. Each batch counts the same.

    Args:
        network: Left in evaluation mode.
        batches: Images float32 [B, C, H, W]; each of several processes has its share of them.

    Source: Wu & Johnson, Rethinking "Batch" in BatchNorm, 2021, section 3 ("PreciseBN").
    """
    network.eval()
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a mean over all batches
        norm.train()
    try:
        for images in batches:
            network(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
