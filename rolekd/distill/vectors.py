"""Leading singular vectors of feature maps, over the channels.

A map [C, H, W] is a matrix [C, HW]. The vectors come from an eigendecomposition of the smaller of
its two Gram matrices, a fraction of the time of a singular value decomposition: a ResNet18 has
maps of 64 x 1024 and of 512 x 16.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_SQUARINGS = 12  # take a ratio of singular values to its power of 2^13: 0.999 leaves 3e-4
# How far a power may be from rank one when products take over: each shrinks the rest by as much.
_NEAR, _PRODUCTS = 1e-2, 3
# Relative gap of two eigenvalues below which the derivative of their vectors is damped.
_GAP = 1e-2
# Singular values below this share of the largest are rounding, without a direction.
_RANK = 1e-3
_TINY = 1e-20


class _Context(FunctionCtx):
    """What the decomposition keeps for its backward pass."""

    saved_tensors: tuple[Tensor, ...]
    across: bool


class _Eigenvectors(torch.autograd.Function):
    """The eigenvectors [B, n, k] of the k largest eigenvalues of the Gram matrices [B, n, n].

    The derivative of a vector has the factor 1 / (l_i - l_j) towards every other one, which is
    unbounded if eigenvalues meet; here it is d / (d² + g²), with g a hundredth of l_i. The
    gradient of a Gram matrix G = A Bᵀ has rank k, and reaches the map as M (A Bᵀ + B Aᵀ), or
    (A Bᵀ + B Aᵀ) M: by products with 2k vectors, none of n x n.
    """

    @staticmethod
    def forward(ctx: _Context, matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
        gram, trace, ctx.across = _gram(matrix)
        values, vectors = torch.linalg.eigh(gram)  # ascending
        values, vectors = values.clamp_min(0).flip(1), vectors.flip(2)
        ctx.save_for_backward(matrix, values, vectors, trace)
        ctx.mark_non_differentiable(values)
        return vectors[:, :, :count].contiguous(), values

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        matrix, values, vectors, trace = ctx.saved_tensors
        count = gradient.shape[2]
        gap = values[:, None, :count] - values[:, :, None]  # [B, n, k]
        damping = _GAP * (values[:, :count] + _RANK**2 * values[:, :1])
        factor = gap / (gap.square() + damping[:, None, :].square() + _TINY)
        left = vectors @ (factor * (vectors.mT @ gradient)) / trace
        right = vectors[:, :, :count]
        both, swapped = torch.cat([left, right], 2), torch.cat([right, left], 2)
        if ctx.across:
            return (matrix @ both) @ swapped.mT, None
        return both @ (swapped.mT @ matrix), None


def leading(maps: Tensor, count: int) -> Tensor:
    """Return the singular vectors over channels of the `count` largest singular values.

    Args:
        maps: float32 or float64 [B, C, H, W].
        count: At most; fewer if C or H W is smaller.

    Returns:
        [B, C, count], of length 1 and either sign; zeros beyond the rank of a map. The gradient is
        damped where singular values meet.
    """
    matrix = _matrices(maps)
    smaller = min(matrix.shape[1:])
    vectors, values = _Eigenvectors.apply(matrix, min(count, smaller))
    assert isinstance(vectors, Tensor)
    largest, values = values[:, None, :1], values[:, None, : vectors.shape[2]]
    if matrix.shape[1] > smaller:
        vectors = F.normalize(matrix @ vectors, dim=1)
    return torch.where(values > _RANK**2 * largest, vectors, 0.0)


@torch.no_grad()
def first(maps: Tensor) -> Tensor:
    """Return the singular vector [B, C] of the largest singular value, its sum not negative.

    By repeated squaring of the Gram matrix, after which vectors whose singular value is below 0.999
    of the largest have vanished. Zeros if a map is zero; without gradient.
    """
    matrix = _matrices(maps)
    power, _, across = _gram(matrix)
    for _ in range(_SQUARINGS):
        power = power @ power
        power = power / (power.diagonal(dim1=1, dim2=2).sum(1) + _TINY)[:, None, None]
        # The trace is 1, so the squared entries sum to the squared eigenvalues: near 1 it has rank
        # one. Maps after a ReLU come near in one or two rounds. A GPU does all rounds faster than
        # it could report that.
        if power.is_cpu and bool((power.square().sum((1, 2)) > 1 - _NEAR).all()):
            break
    # all columns are near multiples of the vector: the one of the largest entry is the most exact
    best = power.diagonal(dim1=1, dim2=2).argmax(1)
    vector = power.gather(2, best[:, None, None].expand(-1, power.shape[1], 1))
    for _ in range(_PRODUCTS):
        vector = (power * _bounded(vector).mT).sum(2, keepdim=True)  # @ is slow with one column
    vector = _bounded(vector)
    if across:
        vector = matrix @ vector
    vector = F.normalize(vector.squeeze(2), dim=1)
    return torch.where(vector.sum(1, keepdim=True) < 0, -vector, vector)


def _bounded(vector: Tensor) -> Tensor:
    """Return vectors [B, n, 1] with a largest entry of 1; tiny ones would be lost otherwise."""
    return vector / (vector.abs().amax(1, keepdim=True) + _TINY)


def align(student: Tensor, teacher: Tensor) -> Tensor:
    """Return, of the student's vectors [B, C, k], the one nearest to the teacher's [B, C].

    It gets the teacher's sign; [B, C], with gradient. While a student learns, its singular vectors
    change places: comparing place by place would compare different things.
    """
    cosine = torch.einsum("bck,bc->bk", student.detach(), teacher)
    best = cosine.abs().argmax(1, keepdim=True)
    chosen = student.gather(2, best[:, None, :].expand(-1, student.shape[1], 1)).squeeze(2)
    return chosen * cosine.gather(1, best).sign()


def _matrices(maps: Tensor) -> Tensor:
    """Return maps [B, C, H, W] as matrices [B, C, HW], in float32 at least."""
    matrix = maps.flatten(2)
    return matrix.float() if matrix.dtype in (torch.float16, torch.bfloat16) else matrix


def _gram(matrix: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Return the smaller Gram matrix of [B, C, HW], its trace, and if it is [HW, HW].

    It is divided by its trace [B, 1, 1], a constant, which does not change a direction.
    """
    across = matrix.shape[1] > matrix.shape[2]
    gram = matrix.mT @ matrix if across else matrix @ matrix.mT
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] + _TINY
    return gram / trace, trace, across
