"""Integer weights as constants of their true width, unpacked once when the file is loaded.

onnxruntime folds the arithmetic below into one 8-bit constant before it packs a kernel's weights,
so a file with 2-bit weights runs on the same kernels as one with 8-bit weights.
"""

import math

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from rolekd.export.builder import Builder

_UINT8_MAX = 255
_TYPES = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}


def unpacked(
    builder: Builder,
    weights: NDArray[np.int32],
    factor: NDArray[np.int32],
    kind: type[np.int8] | type[np.uint8] = np.int8,
    zero: int = 0,
) -> str:
    """Return the name of the 8-bit tensor factor * weights + zero.

    `factor` broadcasts against `weights`; the result must fit the type.
    """
    wide = _wide(builder, weights, factor, zero)
    if wide is None:
        return builder.constant((factor * weights + zero).astype(kind))
    return builder.node("Cast", [wide], to=_TYPES[kind])


def unpacked_digits(builder: Builder, weights: NDArray[np.int32], base: int) -> tuple[str, str]:
    """Return the names of int8 tensors high and low with weights = base * high + low.

    The digits lie around zero; the file holds the weights once, in 8 bits if they fit.
    """
    one = np.ones(1, np.int32)
    # Division cuts off towards zero, so it is done on positive numbers.
    shift = base * (-int(weights.min()) // base + 2)
    raised = _wide(builder, weights, one, shift + base // 2)
    if raised is None:
        raised = builder.constant(weights + np.int32(shift + base // 2))
    base_name, half = builder.constant(np.int32(base)), builder.constant(np.int32(base // 2))
    quotient = builder.node("Div", [raised, base_name])
    rest = builder.node("Sub", [raised, builder.node("Mul", [quotient, base_name])])
    high = builder.node("Sub", [quotient, builder.constant(np.int32(shift // base))])
    low = builder.node("Sub", [rest, half])
    return (
        builder.node("Cast", [high], to=TensorProto.INT8),
        builder.node("Cast", [low], to=TensorProto.INT8),
    )


def _wide(
    builder: Builder, weights: NDArray[np.int32], factor: NDArray[np.int32], zero: int
) -> str | None:
    """Append factor * weights + zero as int32, from codes; None where they need over 8 bits."""
    low = int(weights.min())
    spacing = max(1, math.gcd(*np.unique(weights - low).tolist()))
    codes = (weights - low) // spacing
    if int(codes.max()) > _UINT8_MAX:
        return None
    small = codes.astype(np.uint8)
    bits = next((bits for bits in (2, 4) if int(codes.max()) < 2**bits), 8)
    name = builder.constant(small) if bits == 8 else builder.packed(small, bits)
    # In 32 bits: an intermediate value may leave the 8-bit range.
    wide = builder.node("Cast", [name], to=TensorProto.INT32)
    scaled = builder.node("Mul", [wide, builder.constant(factor * np.int32(spacing))])
    return builder.node("Add", [scaled, builder.constant(factor * np.int32(low) + np.int32(zero))])
