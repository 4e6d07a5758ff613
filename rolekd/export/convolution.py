"""Integer convolutions as ONNX nodes that sum exactly, on maps [N, H, W, C].

Three forms: `fitted`, a QLinearConv that rounds to levels itself; `matmul`, patches times an
integer matrix, scaled to floats; `floats`, float32 convolutions or products whose weights are
split into digits, so that every sum stays below 2^24.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from rolekd.errors import InputError
from rolekd.export.builder import MICROSOFT, Builder
from rolekd.export.fit import Rounding, fit
from rolekd.export.patches import matrix, patches
from rolekd.export.weights import unpacked
from rolekd.quantize.integer import Convolution, FloatConvolution, Requantize, digit_bits

Sizes = tuple[tuple[int, int], tuple[int, int]]  # height and width of the input, of the output

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_INT8_MAX, _INT16_MAX = 127, 2**15 - 1


def fits_8_bits(operation: Convolution) -> bool:
    """Return whether the weights fit the integer forms."""
    return operation.groups == 1 and int(operation.weight.abs().max()) <= _INT8_MAX


def fitted(
    builder: Builder,
    source: str,
    operation: Convolution,
    requantize: Requantize,
    *,
    grid: int,
    zero: int,
    pairs_fit: bool,
) -> str | None:
    """Append a QLinearConv whose output is the level plus a zero point, as uint8.

    Outputs beyond the highest level are not clipped. Returns None where the rounding of a channel
    cannot be fitted.

    Every input is a multiple of `grid`; `zero` stands for level 0 in the output. `pairs_fit` keeps
    sums of two products within 16 bits, as processors without VNNI need.
    """
    weights = operation.weight.numpy()
    heaviest = max(1, int(np.abs(weights).max()))
    limit = _INT8_MAX // heaviest
    if pairs_fit:
        limit = min(limit, _INT16_MAX // (2 * heaviest * operation.largest))
    found = fit(_rounding(operation, requantize, grid), limit)
    if found is None:
        return None
    factor = found.multiplier.astype(np.int32).reshape(-1, 1, 1, 1)
    one, none = builder.constant(np.float32(1)), builder.constant(np.uint8(0))
    inputs = [source, one, none, unpacked(builder, weights, factor)]
    inputs += [builder.constant(found.scale), builder.constant(np.zeros(len(weights), np.int8))]
    inputs += [one, builder.constant(np.uint8(zero)), builder.constant(found.bias)]
    return builder.node(
        "QLinearConv",
        inputs,
        domain=MICROSOFT,
        channels_last=1,
        kernel_shape=list(weights.shape[2:]),
        **_geometry(operation),
    )


def _rounding(operation: Convolution, requantize: Requantize, grid: int) -> Rounding:
    """Return what the sums of non-negative inputs become, and the sums that can occur."""
    weight = operation.weight.long()
    highest = operation.largest // grid
    return Rounding(
        scale=requantize.scales[0].numpy(),
        bias=requantize.bias.numpy(),
        low=requantize.low,
        high=requantize.high,
        smallest=highest * weight.clamp(max=0).sum((1, 2, 3)).numpy(),
        largest=highest * weight.clamp(min=0).sum((1, 2, 3)).numpy(),
        grid=grid,
    )


def matmul(
    builder: Builder,
    source: str,
    operation: Convolution,
    sizes: Sizes,
    scale: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
) -> str:
    """Append float32(sum) * scale + bias."""
    weights = matrix(operation.weight).astype(np.int32)
    # Without VNNI sums of two products must fit 16 bits, or weights be unsigned.
    signed = 2 * int(np.abs(weights).max()) * operation.largest <= _INT16_MAX
    kind, zero = (np.int8, 0) if signed else (np.uint8, 128)
    inputs = [
        patches(builder, source, operation, *sizes),
        unpacked(builder, weights, np.ones(1, np.int32), kind, zero),
        builder.constant(np.float32(1)),
        builder.constant(scale),
        builder.constant(np.uint8(0)),
        builder.constant(kind(zero)),
    ]
    if bias is not None:
        inputs.append(builder.constant(bias))
    return builder.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT)


def floats(
    builder: Builder,
    source: str,
    operation: Convolution,
    sizes: Sizes,
    scale: NDArray[np.float32],
) -> str:
    """Append float32(sum) * scale of a convolution of any kind, on float32 integers.

    Powers of two go into the weights, since they round nothing.
    """
    digits = _digits(operation)
    if operation.groups == 1:
        folds = bool((np.frexp(scale)[0] == 0.5).all())
        inside = scale if folds else np.ones_like(scale)
        x = patches(builder, source, operation, *sizes)
        weights = [matrix(digit).astype(np.float32) * inside for digit in digits]
        parts = [builder.node("MatMul", [x, builder.constant(weight)]) for weight in weights]
    else:
        folds = False
        x = builder.node("Transpose", [source], perm=_TO_NCHW)
        sums = [float_convolution(builder, x, operation, digit) for digit in digits]
        # Rounding keeps onnxruntime from moving what follows into the convolution.
        whole = [builder.node("Round", [total]) for total in sums]
        parts = [builder.node("Transpose", [total], perm=_TO_NHWC) for total in whole]
    total = parts[0] if len(parts) == 1 else builder.node("Add", parts)
    return total if folds else builder.node("Mul", [total, builder.constant(scale)])


def _digits(operation: Convolution) -> list[torch.Tensor]:
    """Return the one or two digits of the weights, in their places, float64."""
    weight = operation.weight.long()
    if operation.bound < 2**24:
        return [weight.double()]
    bits = digit_bits(operation.largest, weight[0].numel())
    base = 2 ** (bits + 1)
    high = torch.div(weight + base // 2, base, rounding_mode="floor")
    if bits < 0 or int(high.abs().max()) > 2**bits:
        raise InputError(
            f"layer {operation.name}: its sums have no exact form; use fewer bits for it"
        )
    return [(base * high).double(), (weight - base * high).double()]


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
        group=operation.groups,
        **_geometry(operation),
    )


def as_float(builder: Builder, source: str) -> str:
    """Append a cast to float32."""
    return builder.node("Cast", [source], to=TensorProto.FLOAT)


def _geometry(operation: Convolution | FloatConvolution) -> dict[str, Any]:
    return {
        "strides": list(operation.stride),
        "pads": [*operation.padding, *operation.padding],
        "dilations": list(operation.dilation),
    }
