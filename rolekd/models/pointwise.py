"""Strided 1x1 convolutions as matrix products, where oneDNN computes them slowly, and wrongly."""

import functools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def as_products(network: nn.Module) -> None:
    """Have the strided 1x1 convolutions of a network, as those of shortcuts, run as products.

    Only on the CPU. A product of the pixels that the stride meets takes a quarter to a half of the
    time, forward and backward, and leaves maps in channels-last order, which what follows adds to.

    oneDNN's own is wrong besides: the gradient of such weights, of fewer input channels than a
    block holds (16 under AVX-512), on channels-last maps, which our batches and what comes of them
    are, is written past its buffer: wrong numbers, or a crash. Source: oneDNN issue 6035; oneDNN
    3.13.3 of torch 2.15 has it.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and _is_strided_pointwise(module):
            # forward of nn.Conv2d and of quantised ones ends in it
            module._conv_forward = functools.partial(  # type: ignore[method-assign]
                _product, module.stride
            )


def _is_strided_pointwise(module: nn.Conv2d) -> bool:
    return (
        tuple(module.kernel_size) == (1, 1)
        and max(module.stride) > 1
        and module.padding in ((0, 0), 0)
        and module.groups == 1
    )


def _product(stride: Sequence[int], x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.device.type != "cpu":
        return F.conv2d(x, weight, bias, tuple(stride))
    pixels = x.permute(0, 2, 3, 1)[:, :: stride[0], :: stride[1]]
    return F.linear(pixels, weight.flatten(1), bias).permute(0, 3, 1, 2)
