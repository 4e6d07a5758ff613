"""Leading singular vectors of feature maps, over the channels.

A map [C, H, W] is a matrix [C, HW]. The vectors come from an eigendecomposition of the smaller of
its two Gram matrices, a fraction of the time of a singular value decomposition: a ResNet18 has
maps of 64 x 1024 and of 512 x 16.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_SQUARINGS = 12
# Relative gap of two eigenvalues below which the derivative of their vectors is damped.
_GAP = 1e-2
# Singular values below this share of the largest are rounding: they have no direction.
_RANK = 1e-3
_TINY = 1e-20


class _Context(FunctionCtx):
    """What the decomposition keeps for its backward pass."""

    saved_tensors: tuple[Tensor, ...]


class _Eigenvectors(torch.autograd.Function):
    """The eigenvectors [B, n, k] of the k largest eigenvalues of symmetric matrices [B, n, n].

    The derivative of a vector has the factor 1 / (l_i - l_j) towards every other one, which is
    unbounded where eigenvalues meet; here it is d / (d² + g²), with g a hundredth of l_i.
    """

    @staticmethod
    def forward(ctx: _Context, gram: Tensor, count: int) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(gram)  # ascending
        values, vectors = values.clamp_min(0).flip(1), vectors.flip(2)
        ctx.save_for_backward(values, vectors)
        ctx.mark_non_differentiable(values)
        return vectors[:, :, :count].contiguous(), values

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        values, vectors = ctx.saved_tensors
        count = gradient.shape[2]
        gap = values[:, None, :count] - values[:, :, None]  # [B, n, k]
        damping = _GAP * (values[:, :count] + _RANK**2 * values[:, :1])
        factor = gap / (gap.square() + damping[:, None, :].square() + _TINY)
        inner = factor * (vectors.mT @ gradient)
        return vectors @ inner @ vectors[:, :, :count].mT, None


def leading(maps: Tensor, count: int) -> Tensor:
    """Return the singular vectors over channels of the `count` largest singular values.

    Args:
        maps: float32 or float64 [B, C, H, W].
        count: At most; fewer where C or H W is smaller.

    Returns:
        [B, C, count], of length 1 and either sign; zeros where a map has no such rank. The
        gradient is damped where singular values meet.
    """
    matrix, gram, across = _gram(maps)
    vectors, values = _Eigenvectors.apply(gram, min(count, gram.shape[1]))
    assert isinstance(vectors, Tensor)
    largest, values = values[:, None, :1], values[:, None, : vectors.shape[2]]
    if across:
        vectors = F.normalize(matrix @ vectors, dim=1)
    return torch.where(values > _RANK**2 * largest, vectors, 0.0)


@torch.no_grad()
def first(maps: Tensor) -> Tensor:
    """Return the singular vector [B, C] of the largest singular value, its sum not negative.

    By repeated squaring of the Gram matrix: vectors whose singular value is below 0.999 of the
    largest have vanished by then. Zeros where a map is zero; no gradient.
    """
    matrix, power, across = _gram(maps)
    for _ in range(_SQUARINGS):
        power = power / (power.diagonal(dim1=1, dim2=2).sum(1) + _TINY)[:, None, None]
        power = power @ power
    # all columns are multiples of the vector: the one of the largest entry is the most exact
    best = power.diagonal(dim1=1, dim2=2).argmax(1)
    vector = power.gather(2, best[:, None, None].expand(-1, power.shape[1], 1))
    # not yet of length 1: an eps would cut it off, so the largest entry goes first
    vector = vector / (vector.abs().amax(1, keepdim=True) + _TINY)
    if across:
        vector = matrix @ vector
    vector = F.normalize(vector.squeeze(2), dim=1)
    return torch.where(vector.sum(1, keepdim=True) < 0, -vector, vector)


def align(student: Tensor, teacher: Tensor) -> Tensor:
    """Of the student's vectors [B, C, k] return the one most along the teacher's [B, C].

    It gets the teacher's direction; [B, C], with gradient. The singular vectors of a student that
    learns change places; following the place would compare different things.
    """
    cosine = torch.einsum("bck,bc->bk", student.detach(), teacher)
    best = cosine.abs().argmax(1, keepdim=True)
    chosen = student.gather(2, best[:, None, :].expand(-1, student.shape[1], 1)).squeeze(2)
    return chosen * cosine.gather(1, best).sign()


def _gram(maps: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Return the matrices [B, C, HW], the smaller of their Gram matrices, and if it is [HW, HW].

    It is divided by its trace, a constant: that changes no direction.
    """
    matrix = maps.flatten(2)
    if matrix.dtype in (torch.float16, torch.bfloat16):
        matrix = matrix.float()
    across = matrix.shape[1] > matrix.shape[2]
    gram = matrix.mT @ matrix if across else matrix @ matrix.mT
    trace = gram.detach().diagonal(dim1=1, dim2=2).sum(1)
    return matrix, gram / (trace + _TINY)[:, None, None], across
