"""Distillation losses of singular vectors: pure functions of student and teacher tensors.

Vectors are float [B, C], of length 1, one for each image and stage: `rolekd.distill.vectors`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

Stages = tuple[Tensor, Tensor]  # vectors [B, C1] and [B, C2] of two neighbouring stages
# e^(ab / 4) with |a|, |b| <= 1 is a power series whose further terms are below 1e-9
_ORDERS = 8


def kernels(student: Stages, teacher: Stages) -> Tensor:
    """KD-SVD: squared difference of the kernels between two stages, summed over their entries.

    The kernel [C1, C2] of vectors v, w is exp(-(v_i - w_j)² / 8).

    exp(-(a - b)² / 8) = e^(-a²/8) e^(-b²/8) Σ (ab / 4)^n / n!, so a kernel has the rank of the few
    terms that count, and the squared norm of a difference of two of them follows from products
    of [C, 16] matrices: no [B, C1, C2] is ever made. In float64, as it is a small difference of
    large numbers.

    Args:
        student: Aligned with the teacher's.
        teacher: Without gradient, of the same sizes.

    Source: Lee et al., Self-supervised Knowledge Distillation Using Singular Value Decomposition,
    2018, equations 3 to 7.
    """
    first, second = (
        torch.cat([_powers(ours.double()), sign * _powers(theirs.double())], dim=2)
        for ours, theirs, sign in zip(student, teacher, (1, -1), strict=True)
    )
    squares = ((first.mT @ first) * (second.mT @ second)).sum((1, 2))
    return squares.mean().to(student[0].dtype)


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
