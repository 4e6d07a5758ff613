"""One training over several processes that torchrun started: what they exchange.

Each process runs the networks on its share of a batch and then sees the outputs of the whole
batch, so every loss, relations between images included, is that of the whole batch. Without
torchrun there is one process, and nothing here does anything.
"""

import atexit
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable

from rolekd import processes


def join_group(device: torch.device) -> None:
    """Join the processes of torchrun until this one ends; alone, or again, do nothing."""
    if processes.team_size() == 1 or world_size() > 1:
        return
    # once: a second group may find the addresses of the first, and wait for it for ever
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    atexit.register(dist.destroy_process_group)


def world_size() -> int:
    """Return the number of processes that have joined."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def share(count: int) -> slice:
    """Return the places of this process's images in a batch of `count`; shares differ by one."""
    rank = dist.get_rank() if world_size() > 1 else 0
    length, longer = divmod(count, world_size())
    start = rank * length + min(rank, longer)
    return slice(start, start + length + (rank < longer))


def gather(share_of: Tensor, count: int) -> Tensor:
    """Return [count, ...], the shares of all processes; each passes the gradient of its own on.

    The gradient is multiplied by the number of processes, so that `average` makes of it that of
    the whole batch, and leaves alone what all processes compute alike.
    """
    if world_size() == 1:
        return share_of
    return _Gather.apply(share_of, count)  # type: ignore[no-any-return]


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their mean over all processes, in one exchange."""
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat.div_(world_size())
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, mean in zip(tensors, parts, strict=True):
        tensor.copy_(mean.view_as(tensor))


@torch.no_grad()
def of_first(tensor: Tensor) -> Tensor:
    """Return the tensor that the first process holds; those of the others have the same shape.

    What processes compute alike may differ in its last bit, where their processors do.
    """
    if world_size() > 1:
        dist.broadcast(tensor, src=0)
    return tensor


def alike(value: int) -> bool:
    """Return whether all processes hold the same number."""
    if world_size() == 1:
        return True
    held: list[Any] = [None] * world_size()
    dist.all_gather_object(held, value)
    return len(set(held)) == 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share_of: Tensor, count: int) -> Tensor:
        ctx.share = share(count)
        # a sum of disjoint parts: shares of different length need no other exchange
        whole = share_of.new_zeros((count, *share_of.shape[1:]))
        whole[ctx.share] = share_of
        dist.all_reduce(whole)
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[ctx.share] * world_size(), None
