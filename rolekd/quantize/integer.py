"""Integer networks: the operations of a deployed student, and their exact evaluation.

The evaluation here is the reference for every exported graph. Convolutions run on integers and
are exact; the few float32 operations are elementwise, in an order that graphs repeat, so that
each rounding to levels comes out the same everywhere. Only the end of the network, after the
last rounding, sums floats.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rolekd.errors import InputError

WHITE = 255  # the largest pixel
_FLOAT32_EXACT = 2**24  # float32 holds every integer up to here


@dataclass(frozen=True)
class Pixels:
    """uint8 image [N, H, W, C] -> integers [N, C + 1, H, W]: the pixels and a channel of 255."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Convolution:
    """Integers [N, I, H, W] -> sums [N, O, H', W'], exact.

    Attributes:
        weight: int32 [O, I / groups, kernel height, kernel width].
        largest: largest magnitude of an input.
        bound: largest magnitude of a sum, and of every partial sum.
    """

    name: str
    inputs: tuple[str, ...]
    weight: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    largest: int
    bound: int


@dataclass(frozen=True)
class Affine:
    """Float32 x1 * scale1 + bias + x2 * scale2 + ..., per channel, rounded after each operation.

    Attributes:
        scales: float32 [C], one for each input.
        bias: float32 [C].
    """

    name: str
    inputs: tuple[str, ...]
    scales: tuple[Tensor, ...]
    bias: Tensor


@dataclass(frozen=True)
class Requantize(Affine):
    """The same, rounded to the nearest integer (half to even), clipped, and multiplied.

    Gives `unit` times a level in low .. high. A unit that carries the highest level close to 255
    resolves more in the next sum, and where it is 255 lets 8-bit arithmetic clip by itself.
    """

    low: int
    high: int
    unit: int


@dataclass(frozen=True)
class AddLevels:
    """Integer unit * x1 + x2, clipped to unit * low .. unit * high: the low-bit residual stream."""

    name: str
    inputs: tuple[str, ...]
    low: int
    high: int
    unit: int


@dataclass(frozen=True)
class Relu:
    """Float max(x, 0)."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class MaxPool:
    """Maximum over windows of integers or floats; `ceil` keeps windows that begin inside."""

    name: str
    inputs: tuple[str, ...]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    ceil: bool


@dataclass(frozen=True)
class GlobalAveragePool:
    """Float mean over the map: [N, C, H, W] -> [N, C, 1, 1]."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class FloatConvolution:
    """A convolution that stays float: not exact, sums may differ in the last bits."""

    name: str
    inputs: tuple[str, ...]
    weight: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


@dataclass(frozen=True)
class Flatten:
    """[N, C, H, W] -> [N, C H W]."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Linear:
    """Float x @ weight.T + bias; weight float32 [O, I]."""

    name: str
    inputs: tuple[str, ...]
    weight: Tensor
    bias: Tensor


Operation = (
    Pixels
    | Convolution
    | Affine
    | Requantize
    | AddLevels
    | Relu
    | MaxPool
    | GlobalAveragePool
    | FloatConvolution
    | Flatten
    | Linear
)


@dataclass(frozen=True)
class IntegerModel:
    """A network of integer operations on raw images.

    Attributes:
        operations: in an order in which they can run; inputs are names of earlier ones, or
            "image".
        image_shape: (height, width, channels) of the uint8 images.
        output: name of the operation that gives the logits.
    """

    operations: tuple[Operation, ...]
    image_shape: tuple[int, int, int]
    output: str

    def __call__(self, images: Tensor | NDArray[np.uint8]) -> Tensor:
        """Map uint8 images [N, H, W, C] to float32 logits [N, classes]."""
        return self.values(images)[self.output]

    @torch.no_grad()
    def values(self, images: Tensor | NDArray[np.uint8]) -> dict[str, Tensor]:
        """Return the output of every operation by name; integers stand in float tensors."""
        images = torch.as_tensor(images)
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.image_shape:
            raise InputError(
                f"images: {images.dtype} {list(images.shape)} do not fit; give uint8 "
                f"[N, {', '.join(map(str, self.image_shape))}]"
            )
        values: dict[str, Tensor] = {"image": images}
        for operation in self.operations:
            values[operation.name] = _evaluate(operation, [values[n] for n in operation.inputs])
        return values

    @property
    def inexact(self) -> tuple[str, ...]:
        """Names of the layers before the last rounding that have no exact integer form."""
        return tuple(op.name for op in self.operations if isinstance(op, FloatConvolution))


def _evaluate(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x = inputs[0]
    match operation:
        case Pixels():
            return _pixels(x)
        case Convolution():
            exact = torch.float32 if operation.bound < _FLOAT32_EXACT else torch.float64
            return _convolve(operation, x.to(exact))
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
            return x.relu()
        case MaxPool():
            return F.max_pool2d(
                x,
                operation.kernel,
                operation.stride,
                operation.padding,
                ceil_mode=operation.ceil,
            )
        case GlobalAveragePool():
            return x.mean((2, 3), keepdim=True)
        case Flatten():
            return x.flatten(1)
        case Linear():
            return F.linear(x, operation.weight, operation.bias)


def digit_bits(largest: int, terms: int) -> int:
    """Return the magnitude bits of weights whose sum over inputs up to `largest` float32 holds."""
    return (_FLOAT32_EXACT // (largest * terms)).bit_length() - 1


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
    first, *others = (
        x.float() * scale.view(-1, 1, 1) for x, scale in zip(inputs, operation.scales, strict=True)
    )
    total = first.add_(operation.bias.view(-1, 1, 1))
    for term in others:
        total.add_(term)
    return total
