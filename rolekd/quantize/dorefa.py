"""DoReFa quantisation (Zhou et al. 2016, arXiv:1606.06160): k bits give n = 2^k - 1 steps.

Written as autograd functions: a fused backward pass saves the memory of intermediate maps, and
with small networks the number of operations decides how long a training step takes.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from rolekd.quantize.quantizer import ActivationQuantizer, Levels, WeightQuantizer

_TINY = 1e-12  # keeps all-zero weights finite; NaN passes through and is seen in the loss


class _Context(FunctionCtx):
    """What the functions below keep for their backward pass."""

    saved_tensors: tuple[Tensor, ...]


class _QuantizedWeight(torch.autograd.Function):
    """2 round(n (tanh(w) / (2 max|tanh(w)|) + 1/2)) / n - 1, straight-through in the rounding."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, steps: int) -> Tensor:
        squashed = weight.tanh()
        largest, position = squashed.abs().flatten().max(0)
        largest.clamp_min_(_TINY)
        ctx.save_for_backward(squashed, largest, position)
        return _grid(squashed, largest, steps).mul_(2 / steps).sub_(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor, None]:
        # d/dw of t / M with t = tanh(w) and M = |t| at its (first) largest element.
        squashed, largest, position = ctx.saved_tensors
        gradient = gradient.contiguous()
        through_largest = torch.dot(gradient.flatten(), squashed.flatten()) / largest
        result = torch.ops.aten.tanh_backward(gradient, squashed)
        peak = squashed.flatten()[position]
        correction = through_largest * peak.sign() * (1 - peak.square())
        result.view(-1)[position] -= correction
        return result.div_(largest), None


class _BinaryWeight(torch.autograd.Function):
    """sign(w) mean|w| with the identity as its gradient, as in the paper's equation 7."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor) -> Tensor:  # noqa: ARG004
        return torch.where(weight < 0, -1.0, 1.0).to(weight.dtype) * weight.abs().mean()

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient


class _QuantizedActivation(torch.autograd.Function):
    """round(n clip(x, 0, 1)) / n, straight-through in the rounding."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, steps: int) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1).mul_(steps).round_().div_(steps)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        # One kernel for gradient * (0 < x < 1).
        return torch.ops.aten.hardtanh_backward(gradient, x, 0.0, 1.0), None


def _grid(squashed: Tensor, largest: Tensor, steps: int) -> Tensor:
    """Return the integers 0 .. steps that stand for squashed weights."""
    return (squashed * (0.5 * steps / largest)).add_(0.5 * steps).round_()


class DoReFaWeight(WeightQuantizer):
    """Weights in [-1, 1] on 2^bits values; with one bit, sign times mean magnitude."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantised weights, of the shape and dtype of `weight`."""
        if not self.active:
            return weight
        if self.bits == 1:
            return _BinaryWeight.apply(weight)  # type: ignore[no-any-return]
        return _QuantizedWeight.apply(weight, 2**self.bits - 1)  # type: ignore[no-any-return]

    def distance(self, weight: Tensor) -> Tensor:
        """Return the sum of squared distances to the levels, of tanh(w) / max|tanh(w)|."""
        centres = self(weight).detach()
        if self.bits == 1:
            gap = 2 * weight.detach().abs().mean().clamp_min(_TINY)
            return ((weight - centres) / gap).square().sum()  # type: ignore[no-any-return]
        gap = 2 / (2**self.bits - 1)
        squashed = weight.tanh()
        largest = squashed.detach().abs().amax().clamp_min(_TINY)
        return ((squashed / largest - centres) / gap).square().sum()  # type: ignore[no-any-return]

    @torch.no_grad()
    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the odd integers 2q - n (int32, the shape of `weight`) and their step 1 / n."""
        if self.bits == 1:
            return torch.where(weight < 0, -1, 1).int(), weight.abs().mean().double()
        steps = 2**self.bits - 1
        squashed = weight.tanh()
        grid = _grid(squashed, squashed.abs().amax().clamp_min(_TINY), steps)
        return (2 * grid - steps).int(), torch.tensor(1 / steps, dtype=torch.float64)


class DoReFaActivation(ActivationQuantizer):
    """Activations clipped to [0, 1], on 2^bits levels."""

    clips = True

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self._steps = 2**bits - 1

    def forward(self, x: Tensor) -> Tensor:
        """Return the quantised activations, of the shape and dtype of `x`."""
        if not self.active:
            return x
        return _QuantizedActivation.apply(x, self._steps)  # type: ignore[no-any-return]

    def levels(self) -> Levels:
        """Return step 1 / n and range 0 .. n."""
        return Levels(1 / self._steps, 0, self._steps)
