"""The first convolution: normalisation and all that follows folded into whole numbers.

It stays float in training; here its filters become integers of 20 to 24 bits, as many as fit two
digits whose sums are exact in float32. Their steps are powers of two, so scaling does not round.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rolekd.quantize.integer import digits
from rolekd.quantize.operations import WHITE, Convolution

_MOST_BITS, _LEAST_BITS = 24, 8


@dataclass(frozen=True)
class Filters:
    """Filters on raw pixels and a channel of 255; their integers depend on what follows.

    The last channel carries the mean, and later the bias: zero padding cuts it off together with
    the pixels, as it does for normalised images.

    Attributes:
        weight: float64 [O, C + 1, rows, columns].
        geometry: stride, padding, dilation and groups.
    """

    name: str
    weight: Tensor
    geometry: dict[str, Any]

    @classmethod
    def on_pixels(
        cls, name: str, weight: Tensor, mean: Tensor, std: Tensor, geometry: dict[str, Any]
    ) -> "Filters":
        """Return filters on uint8 pixels x that equal `weight` on (x / 255 - mean) / std."""
        scaled = weight.double() / (WHITE * std.view(1, -1, 1, 1))
        constant = -(scaled * mean.view(1, -1, 1, 1)).sum(1, keepdim=True)
        return cls(name, torch.cat([scaled, constant], dim=1), geometry)

    def convolution(self, scale: Tensor, bias: Tensor) -> tuple[Convolution, Tensor, Tensor]:
        """Return (convolution, step [O], rest of the bias [O]).

        Convolution times step plus rest is scale * filters + bias, per channel.
        """
        weight = self.weight * scale.view(-1, 1, 1, 1)
        inner = self._inner_tap()
        if inner is not None:
            weight[:, -1, *inner] += bias / WHITE
            bias = torch.zeros_like(bias)
        integers, step = _whole(weight)
        bound = WHITE * int(integers.double().abs().sum((1, 2, 3)).max())
        operation = Convolution(
            self.name, ("pixels",), integers, **self.geometry, largest=WHITE, bound=bound
        )
        return operation, step, bias

    def _inner_tap(self) -> tuple[int, int] | None:
        """Return the tap that is on a pixel, never on padding, if there is one."""
        taps = []
        for axis in (0, 1):
            padding, dilation = self.geometry["padding"][axis], self.geometry["dilation"][axis]
            reach = dilation * (self.weight.shape[2 + axis] - 1)
            if padding % dilation or 2 * padding > reach:
                return None
            taps.append(padding // dilation)
        return taps[0], taps[1]


def _whole(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return filters as int32 of as many bits as two exact digits hold, and their steps."""
    largest = weight.abs().amax((1, 2, 3)).clamp_min(2.0**-100)
    for bits in range(_MOST_BITS, _LEAST_BITS, -1):
        step = torch.exp2(torch.ceil(torch.log2(largest)) - bits)
        integers = (weight / step.view(-1, 1, 1, 1)).round()
        if digits(integers, WHITE) is not None:
            break
    return integers.int(), step
