"""Nodes on whole feature maps [N, H, W, C]: layouts, pooling, functions of single values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from rolekd.export.builder import Builder
from rolekd.quantize.operations import SIXTH, WHITE, GlobalAveragePool, MaxPool, Relu


@dataclass(frozen=True)
class Stored:
    """How levels low .. high are in a uint8 map: unit * level + zero."""

    low: int
    high: int
    unit: int
    zero: int

    @property
    def largest(self) -> int:
        """The largest uint8 value."""
        return self.unit * self.high + self.zero


def as_float(builder: Builder, source: str) -> str:
    """Append a cast to float32."""
    return builder.cast(source, TensorProto.FLOAT)


def integers(builder: Builder, source: str, stored: Stored) -> str:
    """Append unit * level as float32."""
    made = as_float(builder, source)
    if stored.zero == 0:
        return made
    return builder.node("Sub", [made, builder.constant(np.float32(stored.zero))])


def channels_first(builder: Builder, source: str) -> str:
    """Append [N, H, W, C] -> [N, C, H, W]."""
    return builder.node("Transpose", [source], perm=(0, 3, 1, 2))


def channels_last(builder: Builder, source: str) -> str:
    """Append [N, C, H, W] -> [N, H, W, C]."""
    return builder.node("Transpose", [source], perm=(0, 2, 3, 1))


def pixels(builder: Builder, source: str) -> str:
    """Append the image as floats, with a last channel of white."""
    one_more = builder.constant(np.array([0] * 7 + [1], np.int64))
    white = builder.constant(np.float32(WHITE))
    return builder.node("Pad", [as_float(builder, source), one_more, white])


def relu(builder: Builder, source: str, operation: Relu) -> str:
    """Append max(x, 0), cut at the limit."""
    if operation.limit is None:
        return builder.node("Relu", [source])
    return _clip(builder, source, operation.limit)


def hard_sigmoid(builder: Builder, source: str) -> str:
    """Append clip(x + 3, 0, 6) / 6, in the order of the integer evaluation."""
    moved = builder.node("Add", [source, builder.constant(np.float32(3))])
    return builder.node("Mul", [_clip(builder, moved, 6.0), builder.constant(np.float32(SIXTH))])


def mean(builder: Builder, source: str, operation: GlobalAveragePool, size: tuple[int, int]) -> str:
    """Append the mean over a map of the given height and width."""
    axes = builder.constant(np.array([1, 2], np.int64))
    if not operation.fixed:
        return builder.node("ReduceMean", [source, axes], keepdims=1)
    fine = 2.0 ** operation.fraction_bits(*size)
    scaled = builder.node("Mul", [source, builder.constant(np.float32(fine))])
    total = builder.node("ReduceSum", [builder.node("Round", [scaled]), axes], keepdims=1)
    return builder.node(
        "Mul", [total, builder.constant(np.float32(1 / (fine * size[0] * size[1])))]
    )


def max_pool(builder: Builder, source: str, operation: MaxPool) -> str:
    """Append the maximum over windows of a float map."""
    pooled = builder.node("MaxPool", [channels_first(builder, source)], **pooling(operation))
    return channels_last(builder, pooled)


def pooling(operation: MaxPool) -> dict[str, Any]:
    """Return a pooling node's attributes."""
    return {
        "kernel_shape": operation.kernel,
        "strides": operation.stride,
        "pads": [*operation.padding, *operation.padding],
        "ceil_mode": int(operation.ceil),
    }


def _clip(builder: Builder, source: str, limit: float) -> str:
    bounds = (builder.constant(np.float32(0)), builder.constant(np.float32(limit)))
    return builder.node("Clip", [source, *bounds])
