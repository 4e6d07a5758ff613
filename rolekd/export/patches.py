"""Patches of feature maps, with which a convolution is written as a product."""

import numpy as np
import torch
from numpy.typing import NDArray

from rolekd.export.builder import Builder
from rolekd.quantize.operations import Convolution


def patches(
    builder: Builder,
    source: str,
    operation: Convolution,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    zero: np.uint8 | np.float32,
) -> str:
    """Gather what each output position sees: [N, H, W, C] -> [N, H', W', kernel * C].

    `zero` represents zero in the map. One gather copies four times as fast as a slice for
    each tap and their concatenation.
    """
    inputs, *kernel = operation.weight.shape[1:]
    padding = operation.padding
    if any(padding):
        pads = np.array([0, *padding, 0, 0, *padding, 0], np.int64)
        source = builder.node("Pad", [source, builder.constant(pads), builder.constant(zero)])
    if (*kernel, *operation.stride) == (1, 1, 1, 1):
        return source
    width = input_size[1] + 2 * padding[1]
    flat = builder.node("Reshape", [source, _shape(builder, 0, -1, inputs)])
    corners = _positions(output_size, operation.stride, width).reshape(-1, 1)
    taps = _positions((kernel[0], kernel[1]), operation.dilation, width).reshape(1, -1)
    # Their sum is folded at load: the file holds a row and a column, not a table.
    index = builder.node("Add", [builder.constant(corners), builder.constant(taps)])
    gathered = builder.node("Gather", [flat, index], axis=1)
    return builder.node(
        "Reshape", [gathered, _shape(builder, 0, *output_size, kernel[0] * kernel[1] * inputs)]
    )


def matrix(weight: torch.Tensor) -> NDArray[np.generic]:
    """Return weights [O, I, rows, columns] as [rows * columns * I, O], the order of `patches`."""
    result: NDArray[np.generic] = weight.permute(2, 3, 1, 0).reshape(-1, len(weight)).numpy()
    return result


def _positions(size: tuple[int, int], step: tuple[int, int], width: int) -> NDArray[np.int32]:
    """Return the places of a grid of points in a flattened map of the given width."""
    rows, columns = (np.arange(n) * s for n, s in zip(size, step, strict=True))
    return (width * rows[:, None] + columns).astype(np.int32)


def _shape(builder: Builder, *sizes: int) -> str:
    return builder.constant(np.array(sizes, np.int64))
