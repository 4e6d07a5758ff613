"""The engine in batched PyTorch: for GPUs, and for the CPU where numba is not installed.

The plan of a batch is drawn on the host, so the host knows which images get which operation
without asking the device: it sends one small array, and then only queues work, on just the
images concerned. Results are those of the compiled kernels, bit by bit: integers are integers,
and no product is fused with the sum that follows it.

Pixels are packed as in `passes`: int32 [n, H W], the channels in the lower bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rolekd.augment import compiled
from rolekd.augment.compiled import Tables
from rolekd.augment.draws import DrawPlan
from rolekd.augment.ops import GRAY_ROUNDING, GRAY_WEIGHTS
from rolekd.augment.recipe import Base

_CHUNK_PIXELS = 1 << 20  # bounds the memory, and still fills a GPU
_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Group:
    """What n images with one kind of operation need.

    Attributes:
        shape: (H, W, C).
        fill: packed colour.
        numbers: int32 [n, 6], as in `Tables`.
        factors: float32 [n, 1, 1].
        lookups: uint8 [n, 256].
        centres: int32 [n, 2] of regions.
    """

    shape: tuple[int, int, int]
    fill: int
    numbers: Tensor
    factors: Tensor
    lookups: Tensor
    centres: Tensor


def augment(
    images: Tensor, out: Tensor, tables: Tables, drawn: DrawPlan, base: Base, fill: int
) -> None:
    """Augment a batch uint8 [N, H, W, C] into `out` along a plan; `fill` is a packed colour."""
    count, height, width, _ = images.shape
    chunk = max(1, _CHUNK_PIXELS // (height * width))
    numbers, factors, lookups = _send(
        [
            tables.numbers.reshape(-1, 6),
            tables.factors.reshape(-1, 1, 1).view(np.int32),
            tables.lookups.reshape(-1, 256).view(np.int32),
        ],
        images.device,
    )
    rows = (numbers, factors.view(torch.float32), lookups.view(torch.uint8))
    for start in range(0, count, chunk):
        part = slice(start, min(start + chunk, count))
        out[part] = _augment_chunk(images[part], tables, rows, drawn.part(part), base, fill)


def _augment_chunk(
    images: Tensor,
    tables: Tables,
    rows: tuple[Tensor, Tensor, Tensor],
    drawn: DrawPlan,
    base: Base,
    fill: int,
) -> Tensor:
    height, width, channels = images.shape[1:]
    groups = _groups(tables, drawn)
    finish = np.concatenate([drawn.crop, drawn.flip[:, None], drawn.cutout], axis=1)
    sent = _send([array for _, arrays in groups for array in arrays] + [finish], images.device)
    pixels = _pack(images)
    for i, (code, _) in enumerate(groups):
        where, which, centres = sent[3 * i : 3 * i + 3]
        numbers, factors, lookups = (tensor.index_select(0, which) for tensor in rows)
        group = _Group((height, width, channels), fill, numbers, factors, lookups, centres)
        changed = _OPERATIONS[code](pixels.index_select(0, where), group)
        pixels.index_copy_(0, where.long(), changed)
    return _unpack(_finish(pixels, (height, width), sent[-1], base, fill), images.shape)


def _groups(tables: Tables, drawn: DrawPlan) -> list[tuple[int, tuple[_Ints, _Ints, _Ints]]]:
    """Sort a chunk's work by step and operation: code -> (images, rows of the tables, centres)."""
    groups = []
    for step in range(drawn.rows.shape[1]):
        which = 2 * drawn.rows[:, step] + drawn.signs[:, step]
        codes = tables.codes.ravel()[which]
        for code in np.unique(codes).tolist():
            if code in _OPERATIONS:
                where = np.flatnonzero(codes == code).astype(np.int64)
                groups.append((int(code), (where, which[where], drawn.centres[where, step])))
    return groups


def _send(arrays: Sequence[NDArray[np.integer[Any]]], device: torch.device) -> list[Tensor]:
    """Copy arrays to the device as int32, all in one asynchronous transfer."""
    flat = torch.from_numpy(np.concatenate([a.ravel() for a in arrays]).astype(np.int32))
    if device.type == "cuda":
        flat = flat.pin_memory()
    parts = torch.split(flat.to(device, non_blocking=True), [a.size for a in arrays])
    return [part.view(a.shape) for part, a in zip(parts, arrays, strict=True)]


def _pack(images: Tensor) -> Tensor:
    """Pack uint8 [n, H, W, C] into int32 [n, H W]."""
    planes = images.flatten(1, 2).unbind(2)
    pixels = planes[0].to(torch.int32)
    for channel, plane in enumerate(planes[1:], start=1):
        pixels |= plane.to(torch.int32) << (8 * channel)
    return pixels


def _planes(pixels: Tensor, channels: int) -> Tensor:
    """Unpack pixels [n, H W] into int32 [n, C, H W]."""
    return torch.stack([(pixels >> (8 * channel)) & 255 for channel in range(channels)], dim=1)


def _join(planes: Tensor) -> Tensor:
    """Pack planes [n, C, H W] of values 0..255 into int32 [n, H W]."""
    pixels = planes[:, 0].to(torch.int32)
    for channel in range(1, planes.shape[1]):
        pixels = pixels | planes[:, channel].to(torch.int32) << (8 * channel)
    return pixels


def _unpack(pixels: Tensor, shape: torch.Size) -> Tensor:
    """Unpack pixels [n, H W] into uint8 [n, H, W, C]."""
    return _planes(pixels, shape[3]).to(torch.uint8).transpose(1, 2).reshape(shape)


def _gray(planes: Tensor) -> Tensor:
    """Return the luma [n, H W] of planes [n, C, H W]."""
    if planes.shape[1] == 1:
        return planes[:, 0]
    red, green, blue = (planes[:, i] * weight for i, weight in enumerate(GRAY_WEIGHTS))
    return (red + green + blue + GRAY_ROUNDING) >> 16


def _blend(start: Tensor, end: Tensor, factors: Tensor) -> Tensor:
    """Return `start + factor (end - start)` as int32, cut off to bytes as Pillow does."""
    a = start.to(torch.float32)
    mixed = (end.to(torch.float32) - a) * factors
    return (a + mixed).clamp_(0, 255).to(torch.int32)


def _take(
    pixels: Tensor, rows: Tensor, columns: Tensor, shape: tuple[int, int], fill: int
) -> Tensor:
    """Take the pixels at (rows, columns) [n, H, W]; what lies outside is fill."""
    height, width = shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = torch.where(inside, rows * width + columns, 0).flatten(1).long()
    return pixels.gather(1, index).masked_fill_(~inside.flatten(1), fill)


def _fill_region(
    pixels: Tensor, corner: Tensor, region: Tensor, shape: tuple[int, int], fill: int
) -> Tensor:
    """Fill the rectangle `region` (rows, columns) [n, 2] at `corner` [n, 2]."""
    y, x = _grid(shape, pixels.device)
    top, left = (corner[:, i, None, None] for i in range(2))
    rows, columns = (region[:, i, None, None] for i in range(2))
    inside = (y >= top) & (y < top + rows) & (x >= left) & (x < left + columns)
    return pixels.masked_fill(inside.flatten(1), fill)


def _grid(shape: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return row [H, 1] and column [1, W] numbers."""
    y = torch.arange(shape[0], dtype=torch.int32, device=device)[:, None]
    return y, torch.arange(shape[1], dtype=torch.int32, device=device)[None]


def _geometry(pixels: Tensor, group: _Group) -> Tensor:
    height, width, _ = group.shape
    y, x = _grid((height, width), pixels.device)
    a, b, c, d, e, f = (group.numbers[:, i, None, None] for i in range(6))
    columns, rows = (a * x + (b * y + c)) >> 16, (d * x + (e * y + f)) >> 16
    return _take(pixels, rows, columns, (height, width), group.fill)


def _region(pixels: Tensor, group: _Group) -> Tensor:
    region = group.numbers[:, :2]
    corner = group.centres - region // 2
    return _fill_region(pixels, corner, region, group.shape[:2], group.fill)


def _color(pixels: Tensor, group: _Group) -> Tensor:
    planes = _planes(pixels, group.shape[2])
    return _join(_blend(_gray(planes)[:, None], planes, group.factors))


def _sharpness(pixels: Tensor, group: _Group) -> Tensor:
    height, width, channels = group.shape
    planes = _planes(pixels, channels)
    smooth = planes.clone()
    if height > 2 and width > 2:
        values = planes.view(-1, channels, height, width)
        columns = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
        around = columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]
        inner = (around + 4 * values[:, :, 1:-1, 1:-1] + 6) // 13
        smooth.view_as(values)[:, :, 1:-1, 1:-1] = inner
    return _join(_blend(smooth, planes, group.factors))


def _look_up(pixels: Tensor, table: Tensor, channels: int) -> Tensor:
    """Replace the values of each channel by a table [n, C, 256]."""
    return _join(table.gather(2, _planes(pixels, channels).long()))


def _lookup(pixels: Tensor, group: _Group) -> Tensor:
    channels = group.shape[2]
    return _look_up(pixels, group.lookups[:, None].expand(-1, channels, -1), channels)


def _contrast(pixels: Tensor, group: _Group) -> Tensor:
    luma = _gray(_planes(pixels, group.shape[2]))
    size = luma.shape[1]
    mean = (2 * luma.sum(dim=1) + size) // (2 * size)
    table = _blend(mean[:, None, None], _values(pixels.device), group.factors)
    return _look_up(pixels, table.expand(-1, group.shape[2], -1), group.shape[2])


def _auto_contrast(pixels: Tensor, group: _Group) -> Tensor:
    planes = _planes(pixels, group.shape[2])
    low, high = (bound[..., None].double() for bound in planes.aminmax(dim=2))
    values = _values(pixels.device)
    scale = torch.full_like(low, 255.0) / (high - low)  # a number / a tensor rounds twice
    stretched = (values * scale + -low * scale).clamp_(0, 255)
    table = torch.where(high > low, stretched, values.double()).to(torch.int32)
    return _look_up(pixels, table, group.shape[2])


def _equalize(pixels: Tensor, group: _Group) -> Tensor:
    planes = _planes(pixels, group.shape[2]).long()
    histogram = planes.new_zeros((*planes.shape[:2], 256))
    histogram.scatter_add_(2, planes, torch.ones_like(planes))
    last = histogram.gather(2, planes.amax(dim=2, keepdim=True))
    step = (planes.shape[2] - last) // 255
    below = step // 2 + histogram.cumsum(dim=2) - histogram
    levels = (below // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, levels, _values(pixels.device).long())
    return _look_up(pixels, table, group.shape[2])


def _values(device: torch.device) -> Tensor:
    return torch.arange(256, dtype=torch.int32, device=device)


def _finish(pixels: Tensor, shape: tuple[int, int], ends: Tensor, base: Base, fill: int) -> Tensor:
    """Apply crop, flip and Cutout; `ends` [n, 5] are crop (y, x), flip, Cutout (y, x)."""
    if base.crop_padding or base.horizontal_flip:
        y, x = _grid(shape, pixels.device)
        crop_y, crop_x, flip = (ends[:, i, None, None] for i in range(3))
        x = torch.where(flip > 0, shape[1] - 1 - x, x)
        rows, columns = y + crop_y - base.crop_padding, x + crop_x - base.crop_padding
        pixels = _take(pixels, rows, columns, shape, fill)
    if base.cutout:
        corner = ends[:, 3:] - base.cutout // 2
        region = torch.full_like(corner, base.cutout)
        pixels = _fill_region(pixels, corner, region, shape, fill)
    return pixels


_OPERATIONS: dict[int, Callable[[Tensor, _Group], Tensor]] = {
    compiled.LOOKUP: _lookup,
    compiled.GEOMETRY: _geometry,
    compiled.REGION: _region,
    compiled.COLOR: _color,
    compiled.SHARPNESS: _sharpness,
    compiled.CONTRAST: _contrast,
    compiled.AUTO_CONTRAST: _auto_contrast,
    compiled.EQUALIZE: _equalize,
}
