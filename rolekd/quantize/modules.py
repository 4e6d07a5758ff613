"""Layers with quantised weights; they take over the parameters of the float layers.

`weight` keeps the float weights, so names in the state dict do not change.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rolekd.quantize.channelwise import ChannelWeight
from rolekd.quantize.operations import WHITE
from rolekd.quantize.quantizer import WeightQuantizer


class QuantConv2d(nn.Conv2d):
    """A convolution that uses quantised weights, on quantised activations."""

    def __init__(self, source: nn.Conv2d, weight_quantizer: WeightQuantizer) -> None:
        super().__init__(
            source.in_channels,
            source.out_channels,
            source.kernel_size,  # type: ignore[arg-type]
            source.stride,  # type: ignore[arg-type]
            source.padding,  # type: ignore[arg-type]
            source.dilation,  # type: ignore[arg-type]
            source.groups,
            bias=source.bias is not None,
            padding_mode=source.padding_mode,
            device="meta",
        )
        self.weight = source.weight
        self.bias = source.bias
        self.weight_quantizer = weight_quantizer

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map quantised activations [N, I, H, W] to [N, O, H', W']."""
        weight = self.weight_quantizer(self.weights())
        return self._conv_forward(input, weight, self.bias)  # type: ignore[no-any-return]

    def weights(self) -> Tensor:
        """Return the float weights as the quantiser takes them, of the shape of `weight`."""
        return self.weight


class PixelConv2d(QuantConv2d):
    """The first convolution in 8 bits, on images that were normalised by `mean` and `std`.

    It goes back to the pixels, which are 8-bit numbers, so its integers are exactly those of the
    deployed network. It pads with one whole pixel for all channels, the one nearest to their mean.

    Attributes:
        mean, std: float32 [C] of the images' channels in 0..1; `set_pixels` sets them.
    """

    def __init__(self, source: nn.Conv2d) -> None:
        super().__init__(source, ChannelWeight(8))
        for name in ("mean", "std"):
            self.register_buffer(name, source.weight.new_full((source.in_channels,), 0.5))

    def zero_point(self) -> Tensor:
        """Return the pixel that stands for zero, a whole number in 0..255."""
        return (WHITE * self.get_buffer("mean").mean()).round().clamp(0, WHITE)

    def weights(self) -> Tensor:
        """Return the float weights [O, C, ...] on pixels in 0..1, before quantisation."""
        return self.weight / self.get_buffer("std").view(1, -1, 1, 1)

    def rest(self) -> Tensor:
        """Return [1, C, 1, 1], how far a pixel of the zero point is above the mean, in 0..1."""
        return (self.zero_point() / WHITE - self.get_buffer("mean")).view(1, -1, 1, 1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map normalised images [N, C, H, W] to [N, O, H', W']."""
        rest, weight = self.rest(), self.weight_quantizer(self.weights())
        pixels = input * self.get_buffer("std").view(1, -1, 1, 1) - rest
        bias = (weight * rest).sum((1, 2, 3))
        bias = bias if self.bias is None else bias + self.bias
        return self._conv_forward(pixels, weight, bias)  # type: ignore[no-any-return]


class QuantLinear(nn.Linear):
    """A linear layer that uses quantised weights, on quantised activations."""

    def __init__(self, source: nn.Linear, weight_quantizer: WeightQuantizer) -> None:
        super().__init__(
            source.in_features, source.out_features, bias=source.bias is not None, device="meta"
        )
        self.weight = source.weight
        self.bias = source.bias
        self.weight_quantizer = weight_quantizer

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map quantised activations [N, I] to [N, O]."""
        return F.linear(input, self.weight_quantizer(self.weights()), self.bias)

    def weights(self) -> Tensor:
        """Return the float weights as the quantiser takes them, of the shape of `weight`."""
        return self.weight


def quantized(network: nn.Module) -> Iterator[tuple[str, QuantConv2d | QuantLinear]]:
    """Yield the path and layer of everything in a network that has quantised weights."""
    for path, module in network.named_modules():
        if isinstance(module, (QuantConv2d, QuantLinear)):
            yield path, module


def low_bit(network: nn.Module) -> Iterator[tuple[str, QuantConv2d | QuantLinear]]:
    """Yield those of `quantized` that are not the 8-bit ends, whose levels move with any weight."""
    for path, module in quantized(network):
        if not isinstance(module.weight_quantizer, ChannelWeight):
            yield path, module


def set_pixels(network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Set how images are normalised in a network's first convolution, if that has 8 bits.

    Args:
        network: What `convert` returned.
        mean: Of the training pixels per channel, in 0..1.
        std: Their standard deviation.
    """
    for module in network.modules():
        if isinstance(module, PixelConv2d):
            for name, values in (("mean", mean), ("std", std)):
                buffer = module.get_buffer(name)
                buffer.copy_(torch.as_tensor(values, dtype=buffer.dtype))
