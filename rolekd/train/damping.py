"""Damping of weights that oscillate between two levels.

Beside the loss of a step a training minimises damping · share · mean ((ŵ - clip(w)) / gap)² over
all low-bit weights w, except those of 8-bit ends: ŵ are the centres of their levels and gap is the
distance between two levels, both constants. The share rises from 0 in the first epoch to 1 in the
last, as half a cosine: early on, weights should move.

Source: Nagel et al., Overcoming Oscillations in Quantization-Aware Training, 2022, section 4. There
it is a sum of distances in the unit of the weights; as a mean in gaps a weight of the loss means
the same in networks of any width. With the sum, 1e-2 was nothing to a network of width 8 and cost
one of width 16 eight points.
"""

import math

import torch
from torch import Tensor, nn

from rolekd.distill.objective import EpochProgress
from rolekd.quantize.modules import low_bit


def damp(network: nn.Module, weight: float) -> None:
    """Make every training of a low-bit network damp its weights; 0: no damping."""
    for _, module in low_bit(network):
        module.weight_quantizer.damping = weight


def weight_of(network: nn.Module) -> float:
    """Return the weight of the damping; 0: none, as for float networks."""
    return max((m.weight_quantizer.damping for _, m in low_bit(network)), default=0.0)


def weight_share(progress: EpochProgress) -> float:
    """Return the share of the weight that acts in an epoch, 0..1."""
    done = progress.epoch / max(1, progress.epochs - 1)
    return (1 - math.cos(math.pi * done)) / 2


def distance(network: nn.Module) -> Tensor:
    """Return the mean squared distance of all low-bit weights, in squared gaps, a scalar."""
    layers = [(layer.weight_quantizer, layer.weights()) for _, layer in low_bit(network)]
    total = torch.stack([quantizer.distance(weights) for quantizer, weights in layers]).sum()
    return total / sum(weights.numel() for _, weights in layers)
