"""Patches of feature maps: what a convolution becomes when it is written as a product."""

import numpy as np
import torch
from numpy.typing import NDArray

from rolekd.export.builder import Builder
from rolekd.quantize.integer import Convolution


def patches(builder: Builder, source: str, operation: Convolution, size: tuple[int, int]) -> str:
    """Gather what each output position sees: [N, H, W, C] -> [N, H', W', kernel * C].

    `size` is (H', W').
    """
    rows, columns = operation.weight.shape[2:]
    height, width = operation.padding
    if height or width:
        pads = np.array([0, height, width, 0, 0, height, width, 0], np.int64)
        source = builder.node("Pad", [source, builder.constant(pads)])
    if (rows, columns) == (1, 1) and operation.stride == (1, 1):
        return source
    taps = [
        _tap(builder, source, operation, size, (row, column))
        for row in range(rows)
        for column in range(columns)
    ]
    return taps[0] if len(taps) == 1 else builder.node("Concat", taps, axis=-1)


def matrix(weight: torch.Tensor) -> NDArray[np.int32]:
    """Return weights [O, I, rows, columns] as [rows * columns * I, O], the order of `patches`."""
    result: NDArray[np.int32] = weight.permute(2, 3, 1, 0).reshape(-1, len(weight)).numpy()
    return result


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
