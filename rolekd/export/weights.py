"""Integer weights as constants of their true width, unpacked once when the file is loaded.

onnxruntime folds the arithmetic below into one 8-bit constant before it packs a kernel's weights,
so a file with 2-bit weights runs on the same kernels as one with 8-bit weights.
"""

import math

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from rolekd.export.builder import Builder

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
    low = int(weights.min())
    spacing = max(1, math.gcd(*np.unique(weights - low).tolist()))
    codes = (weights - low) // spacing
    bits = next((bits for bits in (2, 4) if int(codes.max()) < 2**bits), 8)
    if bits == 8:
        return builder.constant((factor * weights + zero).astype(kind))
    # In 32 bits: an intermediate value may leave the 8-bit range.
    wide = builder.node(
        "Cast", [builder.packed(codes.astype(np.uint8), bits)], to=TensorProto.INT32
    )
    scaled = builder.node("Mul", [wide, builder.constant(factor * spacing)])
    moved = builder.node("Add", [scaled, builder.constant(factor * low + zero)])
    return builder.node("Cast", [moved], to=_TYPES[kind])
