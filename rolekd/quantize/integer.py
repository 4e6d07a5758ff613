"""Exact evaluation of integer networks: the reference for every exported graph.

Each rounding to levels gives the same result everywhere. Floats are summed only at the end of the
network, after the last rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rolekd.errors import InputError
from rolekd.quantize.operations import (
    SIXTH,
    WHITE,
    AddLevels,
    Affine,
    CentredPixels,
    Convolution,
    Flatten,
    FloatConvolution,
    GlobalAveragePool,
    HardSigmoid,
    HardSwish,
    IntegerLinear,
    IntegerOperation,
    Linear,
    MaxPool,
    Multiply,
    Pixels,
    Relu,
    Requantize,
)

_FLOAT32_EXACT = 2**24  # float32 holds every integer up to here


@dataclass(frozen=True)
class IntegerModel:
    """A network of integer operations on raw images.

    Attributes:
        operations: in an order in which they can run; inputs are names of earlier ones, or
            "image".
        image_shape: (height, width, channels) of the uint8 images.
        output: name of the operation that gives the logits.
    """

    operations: tuple[IntegerOperation, ...]
    image_shape: tuple[int, int, int]
    output: str

    def __call__(self, images: Tensor | NDArray[np.uint8]) -> Tensor:
        """Map uint8 images [N, H, W, C] to float32 logits [N, classes]."""
        return self._run(images, keep=False)[self.output]

    def values(self, images: Tensor | NDArray[np.uint8]) -> dict[str, Tensor]:
        """Return the output of every operation by name; integers are in float tensors."""
        return self._run(images, keep=True)

    @torch.no_grad()
    def _run(self, images: Tensor | NDArray[np.uint8], *, keep: bool) -> dict[str, Tensor]:
        """Run the operations; without `keep` drop each value after its last use."""
        images = torch.as_tensor(images)
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.image_shape:
            raise InputError(
                f"images: {images.dtype} {list(images.shape)} do not fit; give uint8 "
                f"[N, {', '.join(map(str, self.image_shape))}]"
            )
        values: dict[str, Tensor] = {"image": images}
        for index, operation in enumerate(self.operations):
            values[operation.name] = _evaluate(operation, [values[n] for n in operation.inputs])
            if not keep:
                for name in self._last_uses[index]:
                    del values[name]
        return values

    @cached_property
    def _last_uses(self) -> list[list[str]]:
        """For each operation, the values that no later one needs."""
        last = {name: index for index, op in enumerate(self.operations) for name in op.inputs}
        uses: list[list[str]] = [[] for _ in self.operations]
        for name, index in last.items():
            uses[index].append(name)
        return uses

    @property
    def inexact(self) -> tuple[str, ...]:
        """Names of the layers before the last rounding without an exact integer form."""
        return tuple(op.name for op in self.operations if isinstance(op, FloatConvolution))


def _evaluate(operation: IntegerOperation, inputs: Sequence[Tensor]) -> Tensor:
    x = inputs[0]
    match operation:
        case Pixels():
            return _pixels(x)
        case CentredPixels():
            return x.permute(0, 3, 1, 2).float().sub_(operation.zero)
        case Convolution():
            return _convolve(operation, x.to(_exact_type(operation.bound)))
        case IntegerLinear():
            x = x.to(_exact_type(operation.bound))
            return F.linear(x, operation.weight.to(x.dtype))
        case FloatConvolution():
            return _convolve(operation, x.float())
        case Requantize():
            levels = _affine(operation, inputs).round_().clamp_(operation.low, operation.high)
            return levels.mul_(operation.unit)
        case Affine():
            return _affine(operation, inputs)
        case AddLevels():
            total = operation.unit * x + inputs[1]
            return total.clamp_(operation.unit * operation.low, operation.unit * operation.high)
        case Relu():
            return x.clamp(0, operation.limit)
        case HardSigmoid():
            return _hard_sigmoid(x)
        case HardSwish():
            return _hard_sigmoid(x).mul_(x)
        case Multiply():
            return x * inputs[1]
        case MaxPool():
            return F.max_pool2d(
                x,
                operation.kernel,
                operation.stride,
                operation.padding,
                ceil_mode=operation.ceil,
            )
        case GlobalAveragePool():
            return _mean(operation, x)
        case Flatten():
            return x.flatten(1)
        case Linear():
            return F.linear(x, operation.weight, operation.bias)


def digits(weight: Tensor, largest: int) -> list[Tensor] | None:
    """Split integer weights into at most two parts with exact float32 convolutions.

    Inputs are integers up to `largest` in magnitude. A part is a power of two times integers
    small enough that no sum reaches 2^24; the parts add up to the weights [O, ...], int64. None
    if there are no such parts.
    """
    weight = weight.long()
    if _exact(weight, largest):
        return [weight]
    for bits in range(1, 24):
        base = 2**bits
        low = (weight + base // 2) % base - base // 2
        if _exact(low, largest) and _exact((weight - low) // base, largest):
            return [weight - low, low]
    return None


def _exact(weight: Tensor, largest: int) -> bool:
    return largest * int(weight.abs().flatten(1).sum(1).max()) < _FLOAT32_EXACT


def _exact_type(bound: int) -> torch.dtype:
    return torch.float32 if bound < _FLOAT32_EXACT else torch.float64


def _hard_sigmoid(x: Tensor) -> Tensor:
    return (x + 3).clamp_(0, 6).mul_(SIXTH)


def _mean(operation: GlobalAveragePool, x: Tensor) -> Tensor:
    if not operation.fixed:
        return x.mean((2, 3), keepdim=True)
    height, width = x.shape[2:]
    fine = 2.0 ** operation.fraction_bits(height, width)
    total = (x * fine).round_().sum((2, 3), keepdim=True)
    return total.mul_(1 / (fine * height * width))


def _pixels(images: Tensor) -> Tensor:
    return F.pad(images.permute(0, 3, 1, 2).float(), (0, 0, 0, 0, 0, 1), value=WHITE)


def _convolve(operation: Convolution | FloatConvolution, x: Tensor) -> Tensor:
    return F.conv2d(
        x,
        operation.weight.to(x.dtype),
        None,
        operation.stride,
        operation.padding,
        operation.dilation,
        operation.groups,
    )


def _affine(operation: Affine, inputs: Sequence[Tensor]) -> Tensor:
    """Scale the first input, add the bias, then the other inputs, each scaled."""
    shape = (-1,) + (1,) * (inputs[0].ndim - 2)
    first, *others = (
        x.float() * scale.view(shape) for x, scale in zip(inputs, operation.scales, strict=True)
    )
    total = first.add_(operation.bias.view(shape))
    for term in others:
        total.add_(term)
    return total
