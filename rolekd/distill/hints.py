"""Distillation losses of feature maps: pure functions of student and teacher tensors.

Maps are float [B, C, H, W], the teacher's without gradient; every loss is a scalar, a mean over
the batch. Where the two maps differ in size, the larger is averaged down to the smaller.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """FitNets: half the mean squared difference of two maps [B, C, H, W].

    Args:
        student: After its regressor, so with the teacher's channels.
        teacher: The hint.

    Source: Romero et al., FitNets: Hints for Thin Deep Nets, 2015, equation 3.
    """
    student, teacher = same_size(student, teacher)
    return 0.5 * F.mse_loss(student, teacher)


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """AT: ||q_s / ||q_s|| - q_t / ||q_t||||², where q [H W] sums the squares of all channels.

    Args:
        student: [B, C, H, W].
        teacher: [B, C', H', W']; channels may differ.

    Source: Zagoruyko & Komodakis, Paying More Attention to Attention, 2017, equations 1 and 2,
    with the norm squared as in their experiments.
    """
    student, teacher = same_size(student, teacher)
    ours, theirs = (F.normalize(x.square().sum(1).flatten(1), dim=1) for x in (student, teacher))
    return (ours - theirs).square().sum(1).mean()


def flow(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor]) -> Tensor:
    """FSP: squared difference of the flows from one stage to the next, a mean over their entries.

    The flow [C1, C2] is F1ᵀ F2 / (H W), of two maps [H W, C1] and [H W, C2]; the larger is
    max-pooled to the smaller.

    Args:
        student: Maps [B, C1, H1, W1] and [B, C2, H2, W2], with the teacher's channels.
        teacher: Maps of the same channels.

    Source: Yim et al., A Gift from Knowledge Distillation, 2017, equations 1 and 2.
    """
    return F.mse_loss(_flow(*student), _flow(*teacher))


def factors(student: Tensor, teacher: Tensor) -> Tensor:
    """FT: ||f_s / ||f_s|| - f_t / ||f_t||||₁ / √(C H W), of two factors [B, C, H, W].

    Args:
        student: The translator's output.
        teacher: The paraphraser's output, of the same channels.

    Source: Kim et al., Paraphrasing Complex Network: Network Compression via Factor Transfer,
    2018, equation 3 with p = 1; the root makes the loss independent of the size.
    """
    ours, theirs = (F.normalize(x.flatten(1), dim=1) for x in same_size(student, teacher))
    root: float = ours.shape[1] ** 0.5
    return F.l1_loss(ours, theirs) * root


def boundaries(student: Tensor, teacher: Tensor, margin: float = 1.0) -> Tensor:
    """AB: squared distance from the margin on the side where the teacher's neuron stands.

    r(m - s)² where t > 0, r(m + s)² elsewhere, r = max(0, ·); a mean over all neurons.

    Args:
        student: The connector's output [B, C, H, W], of either sign.
        teacher: [B, C, H, W]; before or after its ReLU, the sign is the same.
        margin: m, mu in the paper.

    Source: Heo et al., Knowledge Transfer via Distillation of Activation Boundaries Formed by
    Hidden Neurons, 2019, equation 4.
    """
    student, teacher = same_size(student, teacher)
    side = torch.where(teacher > 0, 1.0, -1.0).to(student.dtype)
    return F.relu(margin - side * student).square().mean()


def same_size(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Average two maps [B, C, H, W] down to the smaller height and the smaller width."""
    height, width = map(min, zip(one.shape[2:], other.shape[2:], strict=True))
    return _pooled(one, height, width), _pooled(other, height, width)


def _pooled(x: Tensor, height: int, width: int) -> Tensor:
    return x if x.shape[2:] == (height, width) else F.adaptive_avg_pool2d(x, (height, width))


def _flow(first: Tensor, second: Tensor) -> Tensor:
    """Return [B, C1, C2]."""
    height, width = map(min, zip(first.shape[2:], second.shape[2:], strict=True))
    one, other = (
        x if x.shape[2:] == (height, width) else F.adaptive_max_pool2d(x, (height, width))
        for x in (first, second)
    )
    return torch.bmm(one.flatten(2), other.flatten(2).mT) / (height * width)
