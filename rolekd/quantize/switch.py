"""Turning the quantisation of a converted network off and on, for epochs in float."""

from torch import nn

from rolekd.quantize.quantizer import ActivationQuantizer, WeightQuantizer
from rolekd.quantize.relus import LeadingReLU


def quantise(network: nn.Module, active: bool) -> None:
    """Turn a network's quantisation on or off; off, weights and activations pass unchanged.

    Off, it computes what a float network with its weights computes, except for the padding of an
    8-bit first convolution. The state dict is the same, and learned steps do not start.
    """
    for module in network.modules():
        if isinstance(module, (WeightQuantizer, ActivationQuantizer, LeadingReLU)):
            module.active = active
