"""Convolutions as matrix products, where oneDNN computes them slowly, or wrongly."""

import functools
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def as_products(network: nn.Module) -> None:
    """Make the convolutions of a network run as products where this is faster.

    Only on the CPU. Strided 1x1 convolutions, as those of shortcuts: a product of the pixels that
    the stride meets takes a quarter to a half of the time, forward and backward, and leaves maps
    in channels-last order, which what follows adds to. Convolutions whose output is one pixel, as
    those of the last stage on small images: most of their weights meet padding alone.

    Besides, oneDNN's own is wrong for strided 1x1: the gradient of such weights, of fewer input
    channels than a block holds (16 under AVX-512), on channels-last maps, which our batches and
    what comes of them are, is written past its buffer: wrong numbers, or a crash. Source: oneDNN
    issue 6035; oneDNN 3.13.3 of torch 2.15 has it.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            form = _form(module)
            if form is not None:
                # forward of nn.Conv2d and of quantised ones ends in it
                module._conv_forward = form  # type: ignore[method-assign, assignment]


_Form = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _form(module: nn.Conv2d) -> _Form | None:
    """Return the function that computes a convolution, if it is not simply torch's."""
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        return None
    padding = tuple(module.padding)
    if tuple(module.kernel_size) == (1, 1):
        strided = max(module.stride) > 1 and max(padding) == 0
        return functools.partial(_product, module.stride) if strided else None
    if max(module.dilation) > 1:
        return None
    return functools.partial(_of_one_pixel, module.stride, padding)


def _product(stride: Sequence[int], x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.device.type != "cpu":
        return F.conv2d(x, weight, bias, tuple(stride))
    pixels = x.permute(0, 2, 3, 1)[:, :: stride[0], :: stride[1]]
    return F.linear(pixels, weight.flatten(1), bias).permute(0, 3, 1, 2)


def _of_one_pixel(
    stride: Sequence[int], padding: Sequence[int], x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Convolve; a kernel with only one position is multiplied with its part of the map."""
    kernel, sides = weight.shape[2:], x.shape[2:]
    places = [
        (side + 2 * pad - size) // step + 1
        for side, pad, size, step in zip(sides, padding, kernel, stride, strict=True)
    ]
    inside = all(pad < size for pad, size in zip(padding, kernel, strict=True))
    if places != [1, 1] or not inside or x.device.type != "cpu":
        return F.conv2d(x, weight, bias, tuple(stride), tuple(padding))
    (top, left), (height, width) = padding, sides
    met = weight[:, :, top : top + height, left : left + width]
    seen = x[:, :, : met.shape[2], : met.shape[3]]
    return F.linear(seen.flatten(1), met.flatten(1), bias)[:, :, None, None]
