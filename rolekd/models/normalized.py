"""Networks that were trained with another normalisation than the data's."""

from typing import TypedDict

import torch
from torch import Tensor, nn


class Normalization(TypedDict):
    """Mean and standard deviation of pixels in 0..1, per channel: images are (x - mean) / std."""

    mean: list[float]
    std: list[float]


def between(ours: Normalization, theirs: Normalization) -> tuple[Tensor, Tensor]:
    """Return scale and shift, both float32 [C]: x * scale + shift is `theirs` where x is `ours`."""
    mean, std, their_mean, their_std = (
        torch.tensor(values, dtype=torch.float64)
        for values in (ours["mean"], ours["std"], theirs["mean"], theirs["std"])
    )
    return (std / their_std).float(), ((mean - their_mean) / their_std).float()


class NormalizedConv2d(nn.Conv2d):
    """A first convolution that normalises its images again before it pads them.

    It takes over the parameters of another; scale and shift, float32 [C], are not part of the
    state.
    """

    def __init__(self, source: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
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
        self.weight, self.bias = source.weight, source.bias
        self.register_buffer("scale", scale.view(-1, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(-1, 1, 1), persistent=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map images [N, C, H, W] to [N, O, H', W']."""
        images = input * self.get_buffer("scale") + self.get_buffer("shift")
        return self._conv_forward(images, self.weight, self.bias)  # type: ignore[no-any-return]

    def scaled_weight(self) -> Tensor:
        """Return the weights of a plain convolution of the images as they come, but the shift."""
        return self.weight.detach() * self.get_buffer("scale")
