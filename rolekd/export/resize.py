"""Images of any size to the network's own, as the training images were: Pillow's arithmetic.

The largest centred box of the network's proportions, resized by Pillow's antialiased bicubic
filter (`rolekd.sources.images`), bit for bit: the filter's weights in 22-bit fixed point, first the
rows, then the columns, each rounded to bytes. onnxruntime's own Resize has the same arithmetic,
but no box that begins between two pixels, and its filter stops at the box where Pillow's sees
the pixels around it.
"""

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, TensorProto, helper

from rolekd.export.builder import Builder

_FRACTION = 2.0**22  # of Pillow's fixed-point weights
_SHARPNESS = -0.5  # of its cubic


def to_size(builder: Builder, source: str, size: tuple[int, int], channels: int) -> str:
    """Append uint8 [N, H, W, C] -> [N, *size, C]; images of this size pass untouched."""
    wanted = builder.constant(np.array(size, np.int64))
    found = builder.node("Shape", [source], start=1, end=3)
    same = builder.node("Equal", [found, wanted])
    axes = builder.constant(np.array([0], np.int64))
    fits = builder.node("ReduceMin", [builder.cast(same, TensorProto.UINT8), axes], keepdims=0)
    return builder.node(
        "If",
        [builder.cast(fits, TensorProto.BOOL)],
        then_branch=_untouched(source, size, channels),
        else_branch=_resized(source, size, channels),
    )


def _untouched(source: str, size: tuple[int, int], channels: int) -> GraphProto:
    inner = Builder("untouched.")
    return _branch(inner, inner.node("Identity", [source]), size, channels)


def _resized(source: str, size: tuple[int, int], channels: int) -> GraphProto:
    inner = Builder("resized.")
    shape = inner.cast(inner.node("Shape", [source], start=1, end=3), TensorProto.DOUBLE)
    ends = [inner.constant(np.array([axis], np.int64)) for axis in range(3)]
    lengths = [inner.node("Slice", [shape, ends[axis], ends[axis + 1]]) for axis in (0, 1)]
    # the box: as high or as wide as the image, whichever is less
    step = inner.node("Min", [_over(inner, lengths[axis], size[axis]) for axis in (0, 1)])
    filters = [_weights(inner, lengths[axis], step, size[axis]) for axis in (0, 1)]
    x = inner.cast(source, TensorProto.DOUBLE)
    bytes_ = inner.node(
        "If",
        [_columns_first(inner, lengths, size)],
        then_branch=_passes("columns.", x, filters, (0, 1), size, channels),
        else_branch=_passes("rows.", x, filters, (1, 0), size, channels),
    )
    return _branch(inner, inner.cast(bytes_, TensorProto.UINT8), size, channels)


def _columns_first(builder: Builder, lengths: Sequence[str], size: tuple[int, int]) -> str:
    """Append whether Pillow filters along the columns first: where they shrink by far more.

    The order shows in the rounding between the passes. Pillow before 13 began with the rows.
    """
    high, wide = (_plus(builder, lengths[axis], -size[axis]) for axis in (0, 1))
    far = builder.node("Max", [_times(builder, wide, 2), builder.constant(np.float64(0))])
    return builder.node("Squeeze", [builder.node("Greater", [high, far])])


def _passes(
    prefix: str,
    source: str,
    filters: Sequence[str],
    order: tuple[int, int],
    size: tuple[int, int],
    channels: int,
) -> GraphProto:
    """Return a graph of both filters, [outputs, length], on doubles [N, H, W, C]."""
    inner = Builder(prefix)
    x = source
    for axis in order:
        if axis == 1:
            x = inner.node("MatMul", [filters[1], x])
        else:
            flat = inner.constant(np.array([0, 0, -1], np.int64))
            x = inner.node("MatMul", [filters[0], inner.node("Reshape", [x, flat])])
            full = inner.constant(np.array([0, size[0], -1, channels], np.int64))
            x = inner.node("Reshape", [x, full])
        x = _to_bytes(inner, x)
    return _branch(inner, x, size, channels, TensorProto.DOUBLE)


def _weights(builder: Builder, length: str, step: str, outputs: int) -> str:
    """Append the filter's weights, [outputs, length], whole multiples of 2^-22.

    Output i is centred at (i + 1/2) * step in the box, which lies in the middle of the length.
    """
    extent = _times(builder, step, outputs)
    begin = _times(builder, builder.node("Sub", [length, extent]), 0.5)
    places = builder.constant((np.arange(outputs) + 0.5).reshape(-1, 1))
    centers = builder.node("Add", [begin, builder.node("Mul", [places, step])])
    scalar = builder.node("Squeeze", [length])
    zero, unit = (builder.constant(np.float64(value)) for value in (0, 1))
    pixels = _plus(builder, builder.node("Range", [zero, scalar, unit]), 0.5)
    width = builder.node("Max", [step, unit])  # antialiasing: wider where the image shrinks
    distance = builder.node("Sub", [builder.node("Unsqueeze", [pixels, _axis(builder)]), centers])
    cubic = _cubic(builder, builder.node("Abs", [builder.node("Div", [distance, width])]))
    total = builder.node("ReduceSum", [cubic, builder.constant(np.array([1], np.int64))])
    scaled = _times(builder, builder.node("Div", [cubic, total]), _FRACTION)
    # away from zero at one half
    whole = builder.node("Floor", [_plus(builder, builder.node("Abs", [scaled]), 0.5)])
    return builder.node("Mul", [builder.node("Sign", [scaled]), whole])


def _cubic(builder: Builder, x: str) -> str:
    """Append Keys's cubic of distances x >= 0: two polynomials, zero from 2 on."""
    a = _SHARPNESS
    near = _polynomial(builder, _clip(builder, x, 0.0, 1.0), (a + 2, -(a + 3), 0.0, 1.0))
    far = _polynomial(builder, _clip(builder, x, 1.0, 2.0), (a, -5 * a, 8 * a, -4 * a))
    # each is zero where the other begins or ends, so their sum is the one that holds
    return builder.node("Add", [near, far])


def _polynomial(builder: Builder, x: str, coefficients: tuple[float, ...]) -> str:
    """Append Horner's scheme, the highest power first."""
    total = _times(builder, x, coefficients[0])
    for coefficient in coefficients[1:-1]:
        total = builder.node("Mul", [_plus(builder, total, coefficient), x])
    return _plus(builder, total, coefficients[-1])


def _to_bytes(builder: Builder, sums: str) -> str:
    """Append the rounding of fixed-point sums to 0 .. 255."""
    raised = _plus(builder, sums, _FRACTION / 2)
    whole = builder.node("Floor", [_over(builder, raised, _FRACTION)])
    return _clip(builder, whole, 0.0, 255.0)


def _branch(
    inner: Builder,
    made: str,
    size: tuple[int, int],
    channels: int,
    kind: int = TensorProto.UINT8,
) -> GraphProto:
    shape = ("N", *size, channels)
    return inner.graph("branch", [], [helper.make_tensor_value_info(made, kind, shape)])


def _axis(builder: Builder) -> str:
    return builder.constant(np.array([0], np.int64))


def _clip(builder: Builder, x: str, low: float, high: float) -> str:
    return builder.node("Clip", [x, *(builder.constant(np.float64(v)) for v in (low, high))])


def _plus(builder: Builder, x: str, value: float) -> str:
    return builder.node("Add", [x, builder.constant(np.float64(value))])


def _times(builder: Builder, x: str, value: float) -> str:
    return builder.node("Mul", [x, builder.constant(np.float64(value))])


def _over(builder: Builder, x: str, value: float) -> str:
    return builder.node("Div", [x, builder.constant(np.float64(value))])
