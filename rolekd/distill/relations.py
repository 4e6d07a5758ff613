"""Distillation losses of singular vectors: pure functions of student and teacher tensors.

Vectors are float [B, C], of length 1, one for each image and stage: `rolekd.distill.vectors`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# e^(ab / 4) with |a|, |b| <= 1 is a power series whose further terms are below 1e-9
_ORDERS = 8


def kernels(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """KD-SVD: squared difference of the kernels of neighbouring stages, summed over their entries.

    The kernel [C1, C2] of vectors v, w is exp(-(v_i - w_j)² / 8).

    exp(-(a - b)² / 8) = e^(-a²/8) e^(-b²/8) Σ (ab / 4)^n / n!, so a kernel has the rank of the few
    terms that count, and the squared norm of a difference of two of them follows from products
    of [C, 16] matrices: no [B, C1, C2] is ever made. In float64, as it is a small difference of
    large numbers.

    Args:
        student: Vectors of two stages or more, aligned with the teacher's.
        teacher: Without gradient, of the same sizes.

    Source: Lee et al., Self-supervised Knowledge Distillation Using Singular Value Decomposition,
    2018, equations 3 to 7.
    """
    ours = [_powers(vectors.double()) for vectors in student]
    theirs = [_powers(vectors.double()) for vectors in teacher]
    squares = []
    for stage in range(len(ours) - 1):
        first = torch.cat([ours[stage], theirs[stage]], dim=2)
        second = torch.cat([ours[stage + 1], -theirs[stage + 1]], dim=2)
        squares.append(((first.mT @ first) * (second.mT @ second)).sum((1, 2)).mean())
    return torch.stack(squares).sum().to(student[0].dtype)


def graphs(student: Tensor, teacher: Tensor) -> Tensor:
    """MHGD: KL(teacher || student) of the edges of each node, a mean over nodes and heads.

    Args:
        student: Scores [A, B, B] of A heads: from every image of one stage (rows) to every image
            of the stage before; their softmax over the last dimension are the edges.
        teacher: Scores [A, B, B], without gradient.

    Source: Lee & Song, Graph-based Knowledge Distillation by Multi-head Attention Network, 2019,
    equation 7.
    """
    ours, theirs = F.log_softmax(student, dim=2), F.log_softmax(teacher, dim=2)
    divergence = F.kl_div(ours, theirs, reduction="sum", log_target=True)
    return divergence / (student.shape[0] * student.shape[1])


def _powers(vectors: Tensor) -> Tensor:
    """Return [B, C, _ORDERS]: e^(-v²/8) (v / 2)^n / √n! for n = 0, 1, ..."""
    powers = [(vectors.square() / -8).exp()]
    for order in range(1, _ORDERS):
        powers.append(powers[-1] * vectors / (2 * order**0.5))
    return torch.stack(powers, dim=2)
