"""Integer convolutions as ONNX nodes that sum exactly, on maps [N, H, W, C].

Three forms: `matmul`, patches times an integer matrix; `float`, a float32 convolution whose
weights are split into digits, so that every sum stays below 2^24; `fitted` in its own module.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from rolekd.errors import InputError
from rolekd.export.builder import MICROSOFT, Builder
from rolekd.quantize.integer import Convolution, FloatConvolution, digit_bits

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_INT16_MAX = 2**15 - 1


def patches(builder: Builder, source: str, operation: Convolution, size: tuple[int, int]) -> str:
    """Gather what each output position sees: [N, H, W, C] -> [N, H', W', kernel * C].

    `size` is (H', W').
    """
    rows, columns = operation.weight.shape[2:]
    source = _padded(builder, source, operation)
    if (rows, columns) == (1, 1) and operation.stride == (1, 1):
        return source
    taps = [
        _tap(builder, source, operation, size, (row, column))
        for row in range(rows)
        for column in range(columns)
    ]
    return taps[0] if len(taps) == 1 else builder.node("Concat", taps, axis=-1)


def _padded(builder: Builder, source: str, operation: Convolution) -> str:
    height, width = operation.padding
    if not (height or width):
        return source
    pads = builder.constant(np.array([0, height, width, 0, 0, height, width, 0], np.int64))
    return builder.node("Pad", [source, pads])


def _tap(
    builder: Builder,
    source: str,
    operation: Convolution,
    size: tuple[int, int],
    position: tuple[int, int],
) -> str:
    start = [p * d for p, d in zip(position, operation.dilation, strict=True)]
    stop = [
        first + (extent - 1) * step + 1
        for first, extent, step in zip(start, size, operation.stride, strict=True)
    ]
    bounds = [start, stop, [1, 2], list(operation.stride)]
    return builder.node(
        "Slice", [source, *(builder.constant(np.array(b, np.int64)) for b in bounds)]
    )


def matrix(operation: Convolution) -> NDArray[np.int32]:
    """Return the weights as [kernel * C, O], in the order of `patches`."""
    outputs = operation.weight.shape[0]
    return operation.weight.permute(2, 3, 1, 0).reshape(-1, outputs).numpy()


def matmul(
    builder: Builder,
    source: str,
    operation: Convolution,
    size: tuple[int, int],
    scale: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
) -> str:
    """Append float32(sum) * scale + bias, for weights that fit 8 bits."""
    weights = matrix(operation)
    # Pairs of products must fit 16 bits on processors without VNNI, or weights be unsigned.
    signed = 2 * int(np.abs(weights).max()) * operation.largest <= _INT16_MAX
    kind, zero = (np.int8, 0) if signed else (np.uint8, 128)
    inputs = [
        patches(builder, source, operation, size),
        builder.constant((weights + zero).astype(kind)),
        builder.constant(np.float32(1)),
        builder.constant(scale),
        builder.constant(np.uint8(0)),
        builder.constant(kind(zero)),
    ]
    if bias is not None:
        inputs.append(builder.constant(bias))
    return builder.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT)


def fits_matmul(operation: Convolution) -> bool:
    """Return whether `matmul` can hold the weights."""
    return operation.groups == 1 and int(operation.weight.abs().max()) <= 127


def float_sum(builder: Builder, source: str, operation: Convolution) -> str:
    """Append the sum, as float32, of a convolution of any kind.

    Rounding keeps onnxruntime from moving what follows into the convolution.
    """
    channels_first = builder.node(
        "Transpose", [builder.node("Cast", [source], to=1)], perm=_TO_NCHW
    )
    base, digits = _digits(operation)
    parts = []
    for digit in digits:
        total = float_convolution(builder, channels_first, operation, digit)
        parts.append(builder.node("Transpose", [builder.node("Round", [total])], perm=_TO_NHWC))
    if len(parts) == 1:
        return parts[0]
    low, high = parts
    shifted = builder.node("Mul", [high, builder.constant(np.float32(base))])
    return builder.node("Add", [shifted, low])


def _digits(operation: Convolution) -> tuple[int, list[torch.Tensor]]:
    """Return the base and the one or two digits, lowest first, of the weights."""
    if operation.bound < 2**24:
        return 1, [operation.weight]
    bits = digit_bits(operation.largest, operation.weight[0].numel())
    base = 2 ** (bits + 1)
    weight = operation.weight.long()
    high = torch.div(weight + base // 2, base, rounding_mode="floor")
    if int(high.abs().max()) > 2**bits:
        raise InputError(
            f"layer {operation.name}: its sums have no exact form; use fewer bits for it"
        )
    return base, [weight - base * high, high]


def float_convolution(
    builder: Builder,
    source: str,
    operation: Convolution | FloatConvolution,
    weight: torch.Tensor,
) -> str:
    """Append a plain convolution on float32 [N, C, H, W]."""
    return builder.node(
        "Conv",
        [source, builder.constant(weight.float().numpy())],
        kernel_shape=list(weight.shape[2:]),
        strides=list(operation.stride),
        pads=[*operation.padding, *operation.padding],
        dilations=list(operation.dilation),
        group=operation.groups,
    )
