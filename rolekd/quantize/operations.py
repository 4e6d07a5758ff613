"""The operations of an integer network.

Each names its output and its inputs. Convolutions act on integers and are exact; float32
operations before the last rounding are elementwise, in an order that graphs repeat.
"""

from dataclasses import dataclass

from torch import Tensor

WHITE = 255  # the largest pixel
SIXTH = 1 / 6  # rounded to float32 where it multiplies


@dataclass(frozen=True)
class Pixels:
    """uint8 image [N, H, W, C] -> integers [N, C + 1, H, W]: the pixels and a channel of 255."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class CentredPixels:
    """uint8 image [N, H, W, C] -> integers [N, C, H, W]: the pixels less a zero point."""

    name: str
    inputs: tuple[str, ...]
    zero: int


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
class IntegerLinear:
    """Integers [N, I] -> sums [N, O], exact.

    Attributes:
        weight: int32 [O, I].
        largest: largest magnitude of an input.
        bound: largest magnitude of a sum, and of every partial sum.
    """

    name: str
    inputs: tuple[str, ...]
    weight: Tensor
    largest: int
    bound: int


@dataclass(frozen=True)
class Affine:
    """Float32 x1 * scale1 + bias + x2 * scale2 + ..., per channel, rounded after each operation.

    Attributes:
        scales: float32 [C], one for each input; [1]: the same for all channels.
        bias: float32 [C] or [1].
    """

    name: str
    inputs: tuple[str, ...]
    scales: tuple[Tensor, ...]
    bias: Tensor


@dataclass(frozen=True)
class Requantize(Affine):
    """The same, rounded to the nearest integer (half to even), clipped, and multiplied.

    Gives `unit` times a level in low .. high. A unit that brings the highest level close to 255
    resolves more in the next sum; at 255 exactly, 8-bit arithmetic clips by itself.
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
    """Float max(x, 0), or min(max(x, 0), limit)."""

    name: str
    inputs: tuple[str, ...]
    limit: float | None = None


@dataclass(frozen=True)
class HardSigmoid:
    """Float clip(x + 3, 0, 6) / 6."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class HardSwish:
    """Float x * (clip(x + 3, 0, 6) / 6)."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Multiply:
    """Float x1 * x2; either may be [N, C, 1, 1]."""

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
    """Float mean over the map: [N, C, H, W] -> [N, C, 1, 1].

    In `fixed` point x is first rounded to a binary fraction so fine that float32 sums values up
    to 64 exactly, in any order: for means that are rounded to levels later.
    """

    name: str
    inputs: tuple[str, ...]
    fixed: bool

    @staticmethod
    def fraction_bits(height: int, width: int) -> int:
        """Return the bits after the point in a map of this size."""
        return 18 - (height * width - 1).bit_length()


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


IntegerOperation = (
    Pixels
    | CentredPixels
    | Convolution
    | IntegerLinear
    | Affine
    | Requantize
    | AddLevels
    | Relu
    | HardSigmoid
    | HardSwish
    | Multiply
    | MaxPool
    | GlobalAveragePool
    | FloatConvolution
    | Flatten
    | Linear
)
