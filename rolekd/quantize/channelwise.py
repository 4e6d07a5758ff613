"""Symmetric quantisation of weights; a channel's step follows from its largest weight.

This suffices for 8 bits: nothing is learned, and nothing is clipped.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from rolekd.quantize.quantizer import WeightQuantizer

_TINY = 1e-12  # keeps channels of zeros finite


class _Rounded(torch.autograd.Function):
    """step * round(w / step), straight-through."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, highest: int) -> Tensor:  # noqa: ARG004
        integers, step = _integers(weight, highest)
        return integers.mul_(step)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradient, None


def _integers(weight: Tensor, highest: int) -> tuple[Tensor, Tensor]:
    """Return integers of the shape and dtype of `weight` [O, ...], and steps [O, 1, ...]."""
    axes = tuple(range(1, weight.ndim))
    step = weight.abs().amax(axes, keepdim=True).clamp_min(_TINY) / highest
    return (weight / step).round_(), step


class ChannelWeight(WeightQuantizer):
    """Weights [O, ...] on the integers -n .. n, n = 2^(bits - 1) - 1, times a step per channel."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self._highest = 2 ** (bits - 1) - 1

    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantised weights, of the shape and dtype of `weight`."""
        if not self.active:
            return weight
        return _Rounded.apply(weight, self._highest)  # type: ignore[no-any-return]

    def distance(self, weight: Tensor) -> Tensor:
        """Return the sum of squared distances of w to its levels, a scalar."""
        integers, step = _integers(weight.detach(), self._highest)
        return (weight / step - integers).square().sum()

    @torch.no_grad()
    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return int32 integers of the shape of `weight` [O, ...], and their steps [O]."""
        integers, step = _integers(weight, self._highest)
        return integers.int(), step.flatten().double()
