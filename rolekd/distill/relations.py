"""Losses of relations: each class has its paper's name, its formula and where it comes from.

They compare singular vectors, float [B, C], of length 1, one for each image and tap
(`rolekd.distill.vectors`), the teacher's without gradient. The gradients of these losses are
clipped: their papers, and Fu et al., bound them by that of the cross-entropy.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rolekd.distill.term import Batch, NetworkOutputs, Pretrained, Setting, Term

# e^(ab / 4) with |a|, |b| <= 1 is a power series whose further terms are below 1e-9
_ORDERS = 8


class KDSVD(Term):
    """Squared difference of the kernels of neighbouring taps, summed over their entries.

    The kernel [C1, C2] of vectors v, w is exp(-(v_i - w_j)² / 8).

    exp(-(a - b)² / 8) = e^(-a²/8) e^(-b²/8) Σ (ab / 4)^n / n!, so a kernel has the rank of the few
    terms that count, and the squared norm of a difference of two of them follows from products
    of [C, 16] matrices: no [B, C1, C2] is ever made. It is computed in float64, as it is a small
    difference of large numbers.

    Source: Lee et al., Self-supervised Knowledge Distillation Using Singular Value Decomposition,
    2018, equations 3 to 7; section 3.3 clips the gradient.
    """

    needs_taps = 2
    needs_adapters = True
    clipped = True

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        return self.formula(batch.aligned, batch.teacher.vectors)

    @staticmethod
    def formula(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Compare vectors [B, C] of two taps or more, aligned with the teacher's."""
        ours = [_powers(vectors.double()) for vectors in student]
        theirs = [_powers(vectors.double()) for vectors in teacher]
        squares = []
        for tap in range(len(ours) - 1):
            first = torch.cat([ours[tap], theirs[tap]], dim=2)
            second = torch.cat([ours[tap + 1], -theirs[tap + 1]], dim=2)
            squares.append(((first.mT @ first) * (second.mT @ second)).sum((1, 2)).mean())
        return torch.stack(squares).sum().to(student[0].dtype)


class MHGD(Term):
    """KL(teacher || student) of the edges of each node, a mean over nodes and heads.

    The nodes are the images of a batch; the edges from one tap to the one before come from
    attention heads, which learn from the teacher first.

    Source: Lee & Song, Graph-based Knowledge Distillation by Multi-head Attention Network, 2019,
    equation 7.
    """

    needs_taps = 2
    needs_adapters = True
    clipped = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.heads = GraphHeads(setting.teacher_channels).requires_grad_(False)

    @property
    def pretrained(self) -> "GraphHeads":
        """The heads."""
        return self.heads

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        ours, theirs = self.heads.scores(batch.aligned), self.heads.scores(batch.teacher.vectors)
        return torch.stack([self.formula(*pair) for pair in zip(ours, theirs, strict=True)]).sum()

    @staticmethod
    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        """Compare scores [A, B, B] of A heads.

        They are from every image at one tap (rows) to every image at the tap before; their
        softmax over the last dimension are the edges.
        """
        ours, theirs = F.log_softmax(student, dim=2), F.log_softmax(teacher, dim=2)
        divergence = F.kl_div(ours, theirs, reduction="sum", log_target=True)
        return divergence / (student.shape[0] * student.shape[1])


class GraphHeads(nn.ModuleList, Pretrained):
    """Attention heads from each tap to the one before.

    Args:
        channels: Of the taps.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(AttentionHeads(*pair) for pair in pairwise(channels))

    def __iter__(self) -> Iterator["AttentionHeads"]:
        return super().__iter__()  # type: ignore[return-value]

    def scores(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Scores [A, B, B] of each tap but the first, of the vectors [B, C] of all."""
        return [heads.scores(*pair) for heads, pair in zip(self, pairwise(vectors), strict=True)]

    def pretraining_loss(self, teacher: NetworkOutputs) -> Tensor:
        """One minus the cosine of the predicted vectors and the teacher's, summed over taps."""
        cosines = [
            F.cosine_similarity(heads.predict(*pair), pair[1]).mean()
            for heads, pair in zip(self, pairwise(teacher.vectors), strict=True)
        ]
        return (1 - torch.stack(cosines)).sum()


class AttentionHeads(nn.Module):
    """Predicts the vectors of a tap from those of the tap before, through a graph of the batch.

    Each head scores every pair (image at this tap, image at the tap before); the softmax of the
    scores weighs the values of the tap before, from which two layers make the prediction.

    Source: Lee & Song 2019, section 3.2.
    """

    def __init__(self, before: int, here: int, heads: int = 8) -> None:
        super().__init__()
        self._heads = heads
        width = heads * max(1, here // heads)
        self.query = nn.Linear(here, width)
        self.key = nn.Linear(before, width)
        self.value = nn.Linear(before, width)
        self.estimate = nn.Sequential(
            nn.Linear(width, here), nn.LeakyReLU(0.1), nn.Linear(here, here)
        )

    def scores(self, before: Tensor, here: Tensor) -> Tensor:
        """Scores [A, B, B] of vectors [B, C1] and [B, C2] of length 1."""
        query = self._split(self.query(_unit_variance(here)))
        key = self._split(self.key(_unit_variance(before)))
        scale: float = query.shape[2] ** -0.5
        return (query * scale) @ key.mT

    def predict(self, before: Tensor, here: Tensor) -> Tensor:
        """Predict the vectors of this tap, [B, C2], of any length."""
        value = self._split(self.value(_unit_variance(before)))
        attended = self.scores(before, here).softmax(2) @ value  # [A, B, width / A]
        return self.estimate(attended.transpose(0, 1).flatten(1))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        """[B, width] to [A, B, width / A]."""
        return x.view(len(x), self._heads, -1).transpose(0, 1)


LOSSES: dict[str, type[Term]] = {"kdsvd": KDSVD, "mhgd": MHGD}


def _powers(vectors: Tensor) -> Tensor:
    """Return [B, C, _ORDERS]: e^(-v²/8) (v / 2)^n / √n! for n = 0, 1, ..."""
    powers = [(vectors.square() / -8).exp()]
    for order in range(1, _ORDERS):
        powers.append(powers[-1] * vectors / (2 * order**0.5))
    return torch.stack(powers, dim=2)


def _unit_variance(vectors: Tensor) -> Tensor:
    # what the initial weights of a linear layer are made for
    scale: float = vectors.shape[1] ** 0.5
    return vectors * scale
