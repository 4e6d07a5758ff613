"""LSQ, learned step size quantisation (Esser et al. 2020, arXiv:1902.08153).

A tensor v becomes step * round(clip(v / step, low, high)); the step is a parameter. Its gradient
is the paper's equation 3, scaled by 1 / sqrt(elements * high) so that steps and weights learn at
comparable rates; as there, values at an end of the range or beyond pass no gradient. A weight of
one bit is its sign: the integers -1 and 1 without 0, otherwise the same.

A step starts from the first tensor that passes in training mode: 2 mean|v| / sqrt(high). For
weights these are the initial ones, the teacher's if they were copied; for activations it is the
first training batch, which the seed decides. `started` is part of the state, so neither a resumed
training nor a later generation of a search starts steps anew. A pass in evaluation mode before the
first batch, such as one that finds shapes, uses steps of its own and does not keep them.
"""

import math

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from rolekd import flat, parallel
from rolekd.errors import InputError
from rolekd.quantize.quantizer import ActivationQuantizer, Levels, WeightQuantizer

kernels = flat.compiled("rolekd.quantize.kernels")
_TINY = 1e-8  # a step never falls below it


class _Context(FunctionCtx):
    """What the function below keeps for its backward pass."""

    saved_tensors: tuple[Tensor, ...]
    range: tuple[int, int]
    factor: float
    binary: bool


class _Compiled(torch.autograd.Function):
    """As `_Quantized` of max(|step|, tiny), in compiled passes; see `rolekd.quantize.kernels`."""

    @staticmethod
    def forward(
        ctx: _Context, v: Tensor, step: Tensor, low: int, high: int, factor: float
    ) -> Tensor:
        ctx.save_for_backward(v, step)
        ctx.range, ctx.factor = (low, high), factor
        found: Tensor = kernels.rounded(v, max(abs(step.item()), _TINY), low, high)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        v, step = ctx.saved_tensors
        low, high = ctx.range
        size = step.item()
        for_v, total = kernels.gradients(gradient, v, max(abs(size), _TINY), low, high)
        sign = math.copysign(1, size) if abs(size) >= _TINY else 0
        factor = sign * ctx.factor
        return for_v, step.new_full(step.shape, factor * total), None, None, None


class _Quantized(torch.autograd.Function):
    """step * round(clip(v / step, low, high)), straight-through in the rounding."""

    @staticmethod
    def forward(
        ctx: _Context, v: Tensor, step: Tensor, low: int, high: int, factor: float, binary: bool
    ) -> Tensor:
        ctx.save_for_backward(v, step)
        ctx.range, ctx.factor, ctx.binary = (low, high), factor, binary
        return _rounded((v / step).clamp_(low, high), binary).mul_(step)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        v, step = ctx.saved_tensors
        low, high = ctx.range
        scaled = v / step
        inside = (scaled > low) & (scaled < high)
        rounded = _rounded(scaled.clamp(low, high), ctx.binary)
        # d/dstep: round(v / step) - v / step inside the range, its end from there on
        slope = torch.where(inside, rounded - scaled, rounded)
        for_step = (gradient * slope).sum().mul_(ctx.factor).to(step.dtype)
        return torch.where(inside, gradient, 0), for_step.view_as(step), None, None, None, None


def _rounded(x: Tensor, binary: bool) -> Tensor:
    """Round in place: to integers, or to -1 and 1."""
    return torch.where(x < 0, -1.0, 1.0).to(x.dtype) if binary else x.round_()


class _Learned(nn.Module):
    """A quantiser with a learned step that starts from the first tensor seen in training."""

    active: bool = True

    def __init__(self, bits: int, low: int, high: int, *, binary: bool = False) -> None:
        super().__init__()
        self.bits = bits
        self._low, self._high, self._binary = low, high, binary
        self.step = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("started", torch.tensor(False))
        self._running = False  # so that the buffer is not read each time, which waits for a GPU

    def forward(self, v: Tensor) -> Tensor:
        """Return `v` on its levels, of its shape and dtype."""
        if not self.active:
            return v
        if flat.fits(v) and not self._binary:
            return _Compiled.apply(  # type: ignore[no-any-return]
                v, self._step(v), self._low, self._high, self._factor(v)
            )
        step = self._step(v).abs().clamp_min(_TINY).to(v.dtype)
        return _Quantized.apply(  # type: ignore[no-any-return]
            v, step, self._low, self._high, self._factor(v), self._binary
        )

    def _factor(self, v: Tensor) -> float:
        """Return the factor of the step's gradient."""
        return 1 / math.sqrt(v.numel() * self._high)

    def _step(self, v: Tensor) -> Tensor:
        if self._running or self._started():
            return self.step
        first = self._first(v)
        if self.training:
            with torch.no_grad():
                self.step.copy_(first)
                self.get_buffer("started").fill_(True)
            self._running = True
            return self.step
        return first

    @torch.no_grad()
    def _first(self, v: Tensor) -> Tensor:
        """Return where the step starts; with several processes, from the whole batch."""
        clipped = v.clamp_min(0) if self._low == 0 else v.abs()
        mean = clipped.mean(dtype=self.step.dtype)
        if self.training and distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(mean)
            mean /= distributed.get_world_size()
        return (2 * mean / math.sqrt(self._high)).clamp_min(_TINY)

    def _started(self) -> bool:
        self._running = bool(self.get_buffer("started"))
        return self._running

    def _size(self) -> Tensor:
        """Return the step as it acts, float64."""
        if not self._started():
            raise InputError(
                "quantizer lsq: a step has not seen a batch yet; train the network first"
            )
        return self.step.detach().abs().clamp_min(_TINY).double()


class LSQWeight(_Learned, WeightQuantizer):
    """Weights on the integers -2^(bits - 1) .. 2^(bits - 1) - 1 times a learned step.

    With one bit, on -1 and 1.
    """

    def __init__(self, bits: int) -> None:
        half = 2 ** (bits - 1)
        super().__init__(bits, -half, max(half - 1, 1), binary=bits == 1)

    @torch.no_grad()
    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return int32 integers of the shape of `weight`, and their step."""
        size = self._size()
        return self._on(weight, size), size

    def distance(self, weight: Tensor) -> Tensor:
        """Return the sum of squared distances of w, clipped to the range, to the levels."""
        centres = self(weight).detach()
        size = self.step.detach().abs().clamp_min(_TINY)
        off = weight.clamp(size * self._low, size * self._high) - centres
        return (off / (2 * size if self._binary else size)).square().sum()  # type: ignore[no-any-return]

    @torch.no_grad()
    def levels(self, weight: Tensor) -> Tensor:
        """Return the integers alone; before the first batch, those of the step to start with."""
        return self._on(weight, (self.step if self._started() else self._first(weight)).abs())

    def _on(self, weight: Tensor, size: Tensor) -> Tensor:
        size = size.clamp_min(_TINY).to(weight.dtype)
        return _rounded((weight / size).clamp_(self._low, self._high), self._binary).int()


class LSQActivation(_Learned, ActivationQuantizer):
    """Activations on the integers 0 .. 2^bits - 1 times a learned step.

    If they may be negative, `signed`, the integers are -2^(bits - 1) .. 2^(bits - 1) - 1; a single
    bit does not have a sign.
    """

    def __init__(self, bits: int, *, signed: bool = False) -> None:
        below = 2 ** (bits - 1) if signed and bits > 1 else 0
        super().__init__(bits, -below, 2**bits - 1 - below)
        self.clips = below == 0

    def _factor(self, v: Tensor) -> float:
        # of the whole batch; each process has its share
        return super()._factor(v) / math.sqrt(parallel.world_size())

    def levels(self) -> Levels:
        """Return the learned step and the range of its multiples."""
        return Levels(self._size().item(), self._low, self._high)
