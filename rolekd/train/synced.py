"""BatchNorm over the whole batch of several processes; torch's own exists for GPUs only."""

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from rolekd import parallel


class SyncedBatchNorm(nn.Module):
    """A BatchNorm with the statistics of all processes' shares, computed in float32.

    Takes over parameters and buffers of `source`, so names in the state dict stay as they were.
    """

    def __init__(self, source: _BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias = source.weight, source.bias
        for name, value in source.named_buffers():
            self.register_buffer(name, value)
        self._epsilon, self._momentum = source.eps, source.momentum or 0.1

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, ...] to the same shape and dtype."""
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        if not self.training:
            return nn.functional.batch_norm(
                x, mean, variance, self.weight, self.bias, eps=self._epsilon
            )
        y, batch_mean, batch_variance = _Normalized.apply(x, self.weight, self.bias, self._epsilon)
        with torch.no_grad():
            mean.lerp_(batch_mean, self._momentum)
            variance.lerp_(batch_variance, self._momentum)
            self.get_buffer("num_batches_tracked").add_(1)
        return y  # type: ignore[no-any-return]


def synchronise(network: nn.Module) -> None:
    """Give every BatchNorm of a network the statistics of all processes, where there are more."""
    if parallel.size() == 1:
        return
    for path, module in list(network.named_modules()):
        if isinstance(module, _BatchNorm):
            network.set_submodule(path, SyncedBatchNorm(module))


class _Normalized(torch.autograd.Function):
    """(x, weight [C], bias [C]) -> normalised x, mean [C], unbiased variance [C]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        values = x.float()
        variance, mean = torch.var_mean(values, axes, correction=0)
        rows = mean.new_zeros((parallel.size(), 1 + 2 * len(mean)))
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
