"""The moving average of a network's weights over the steps of its training."""

import copy

import torch
from torch import nn


class Average:
    """An exponential moving average of a network's weights and BatchNorm statistics.

    The statistics are averaged like the weights, since they must describe what the averaged
    weights see; whole numbers (counters, flags) are copied. Early on the average would still be
    mostly the initial weights, so it forgets faster there, with (1 + step) / (10 + step).

    Attributes:
        network: The averaged network, in evaluation mode.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step number `step`, counted from 0."""
        weight = 1 - min(self._decay, (1 + step) / (10 + step))
        source = network.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(source[name], weight)
            else:
                value.copy_(source[name])
