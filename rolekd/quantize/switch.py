"""Turning the quantisation of a converted network off and on, for epochs in float."""

from torch import nn

from rolekd.quantize.quantizer import ActivationQuantizer, WeightQuantizer
from rolekd.quantize.relus import LeadingReLU


def quantise(network: nn.Module, active: bool) -> None:
    """Have a network quantise, or pass weights and activations as they are.

    Off, it computes what the float network of its weights does, but for the padding of a first
    convolution of 8 bits. The state dict is the same, and learned steps do not start.
    """
    for module in network.modules():
        if isinstance(module, (WeightQuantizer, ActivationQuantizer, LeadingReLU)):
            module.active = active
