"""LSQ, learned step size quantisation (Esser et al. 2020, arXiv:1902.08153).

A tensor v becomes step * round(clip(v / step, low, high)); the step is a parameter. Its gradient
is the paper's equation 3, scaled by 1 / sqrt(elements * high) so that steps and weights learn at
comparable rates. Steps start from the first tensor seen: 2 mean|v| / sqrt(high).
"""

import math

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from rolekd.errors import InputError
from rolekd.quantize.quantizer import ActivationQuantizer, Levels, WeightQuantizer

_TINY = 1e-8  # a step never falls below it


class _Context(FunctionCtx):
    """What the function below keeps for its backward pass."""

    saved_tensors: tuple[Tensor, ...]
    range: tuple[int, int]


class _Quantized(torch.autograd.Function):
    """step * round(clip(v / step, low, high)), straight-through in the rounding."""

    @staticmethod
    def forward(ctx: _Context, v: Tensor, step: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward(v, step)
        ctx.range = low, high
        return (v / step).clamp_(low, high).round_().mul_(step)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        v, step = ctx.saved_tensors
        low, high = ctx.range
        scaled = v / step
        inside = (scaled >= low) & (scaled <= high)
        rounded = scaled.clamp(low, high).round_()
        # d/dstep: round(v / step) - v / step inside the range, the range's end outside.
        slope = torch.where(inside, rounded - scaled, rounded)
        factor = 1 / math.sqrt(v.numel() * high)
        for_step = (gradient * slope).sum().mul_(factor).to(step.dtype)
        return gradient * inside, for_step.view_as(step), None, None


class _Learned(nn.Module):
    """A quantiser with a learned step that starts from the first tensor seen."""

    def __init__(self, bits: int, low: int, high: int) -> None:
        super().__init__()
        self.bits = bits
        self._low, self._high = low, high
        self.step = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("started", torch.tensor(False))
        self._running = False  # spares a look at the buffer, which would wait for a GPU

    def forward(self, v: Tensor) -> Tensor:
        """Return `v` on its levels, of its shape and dtype."""
        if not self._running:
            self._start(v)
        step = self.step.abs().clamp_min(_TINY).to(v.dtype)
        return _Quantized.apply(v, step, self._low, self._high)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _start(self, v: Tensor) -> None:
        started = self.get_buffer("started")
        if not started:
            self.step.copy_((2 * v.abs().mean() / math.sqrt(self._high)).clamp_min(_TINY))
            started.fill_(True)
        self._running = True

    def _size(self) -> Tensor:
        """Return the step as it acts, float64."""
        return self.step.detach().abs().clamp_min(_TINY).double()


class LSQWeight(_Learned, WeightQuantizer):
    """Weights on the integers -2^(bits - 1) .. 2^(bits - 1) - 1 times a learned step."""

    def __init__(self, bits: int) -> None:
        if bits < 2:
            raise InputError("quantizer lsq: weights need 2 bits or more; choose dorefa for 1")
        super().__init__(bits, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    @torch.no_grad()
    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return int32 integers of the shape of `weight`, and their step."""
        if not self._running:
            self._start(weight)
        scaled = weight / self.step.abs().clamp_min(_TINY).to(weight.dtype)
        return scaled.clamp_(self._low, self._high).round_().int(), self._size()


class LSQActivation(_Learned, ActivationQuantizer):
    """Activations on the integers 0 .. 2^bits - 1 times a learned step.

    Where they may be negative, `signed`, the integers are -2^(bits - 1) .. 2^(bits - 1) - 1; a
    single bit has no sign.
    """

    def __init__(self, bits: int, *, signed: bool = False) -> None:
        below = 2 ** (bits - 1) if signed and bits > 1 else 0
        super().__init__(bits, -below, 2**bits - 1 - below)

    def levels(self) -> Levels:
        """Return the learned step and the range of its multiples."""
        return Levels(self._size().item(), self._low, self._high)
