"""BatchNorm over the whole batch of several processes; torch's own exists for GPUs only."""

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from rolekd import parallel


class SyncedBatchNorm(_BatchNorm):
    """A BatchNorm with the statistics of all processes' shares, computed in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, ...] to the same shape and dtype."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        y, mean, variance = _Normalized.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            momentum = self.momentum or 1 / int(self.num_batches_tracked)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance, momentum)
        return y  # type: ignore[no-any-return]

    def _check_input_dim(self, x: Tensor) -> None:
        """Take any number of dimensions."""


def synchronise(network: nn.Module) -> None:
    """Give every BatchNorm of a network the statistics of all processes, if there are several."""
    if parallel.world_size() == 1:
        return
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            # in place, so that parameters, names and the hooks of taps stay
            module.__class__ = SyncedBatchNorm


class _Normalized(torch.autograd.Function):
    """(x, weight [C], bias [C]) -> normalised x, mean [C], unbiased variance [C]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        values = x.float()
        variance, mean = torch.var_mean(values, axes, correction=0)
        rows = mean.new_zeros((parallel.world_size(), 1 + 2 * len(mean)))
        count = mean.new_tensor([values.numel() / len(mean)])
        rows[dist.get_rank()] = torch.cat([count, mean, variance])
        dist.all_reduce(rows)  # each process adds its own row: exact
        counts, means, variances = torch.split(rows, [1, len(mean), len(mean)], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean).square())).sum(0) / total
        shape = [1, -1] + [1] * (x.ndim - 2)
        scale = (variance + epsilon).rsqrt()
        normalised = (values - mean.view(shape)) * scale.view(shape)
        ctx.save_for_backward(normalised, scale, weight, total)
        y = normalised * weight.view(shape) + bias.view(shape)
        unbiased = variance * (total / (total - 1))
        ctx.mark_non_differentiable(mean, unbiased)
        return y.to(x.dtype), mean, unbiased

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        normalised, scale, weight, total = ctx.saved_tensors
        axes = [axis for axis in range(gradient.ndim) if axis != 1]
        shape = [1, -1] + [1] * (gradient.ndim - 2)
        values = gradient.float()
        for_bias, for_weight = values.sum(axes), (values * normalised).sum(axes)
        sums = torch.stack([for_bias, for_weight])
        dist.all_reduce(sums)
        mean, slope = (sums / total).unbind()
        for_x = values - mean.view(shape) - normalised * slope.view(shape)
        for_x = for_x * (weight * scale).view(shape)
        return for_x.to(gradient.dtype), for_weight, for_bias, None
