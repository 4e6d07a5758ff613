"""Losses of logits: each class has its paper's name, its formula and where it comes from.

Logits are float [B, K], the teacher's without gradient; every loss is a scalar, a mean over the
batch, so that it does not depend on the batch size.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from rolekd import flat
from rolekd.distill.objective import of_whole_batch
from rolekd.distill.term import TINY, Batch, Setting, Term

kernels = flat.compiled("rolekd.distill.kernels")


class SoftLabels(Term):
    """KL(teacher || student) of the softened class probabilities, times T².

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015, section 2.
    """

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        return self.formula(batch.student.logits, batch.teacher.logits, self.temperature)

    @staticmethod
    def formula(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Compare logits [B, K] at T > 0; the factor T² keeps the gradient's size."""
        log_student = F.log_softmax(student / temperature, dim=1)
        log_teacher = F.log_softmax(teacher / temperature, dim=1)
        return _divergence(log_student, log_teacher) * temperature**2


class DKD(Term):
    """Soft labels in two parts, "the right class or not" and "which of the others", times T².

    a KL(b_t || b_s) + b KL(q_t || q_s), where b is the probability of the label against the sum
    of all others, and q the distribution over the others alone.

    Source: Zhao et al., Decoupled Knowledge Distillation, 2022, equation 7.
    """

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        student, teacher = batch.student.logits, batch.teacher.logits
        return self.formula(student, teacher, batch.labels, self.temperature)

    @staticmethod
    def formula(
        student: Tensor,
        teacher: Tensor,
        labels: Tensor,
        temperature: float,
        target_weight: float = 1.0,
        others_weight: float = 8.0,
    ) -> Tensor:
        """Compare logits.

        Args:
            student: Logits [B, K].
            teacher: Logits [B, K].
            labels: int64 [B].
            temperature: T > 0.
            target_weight: a, alpha in the paper.
            others_weight: b, beta in the paper; 8 is its value for ResNets.
        """
        target, others = zip(
            *(_decouple(logits / temperature, labels) for logits in (student, teacher)), strict=True
        )
        divergence = target_weight * _divergence(*target) + others_weight * _divergence(*others)
        return divergence * temperature**2


class DML(Term):
    """KL(peer || student) of the class probabilities, of two networks that learn together.

    The peer starts as a copy of the teacher and learns from the labels and from the student.

    Source: Zhang et al., Deep Mutual Learning, 2018, equations 3 to 7.
    """

    needs_teacher = False

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.peer = copy.deepcopy(setting.teacher).requires_grad_(True)

    def forward(self, batch: Batch) -> Tensor:
        """Return the student's loss, a scalar; the peer's is appended to `beside`."""
        logits = of_whole_batch(self.peer(batch.images), len(batch.labels))
        student = batch.student.logits
        own = F.cross_entropy(logits, batch.labels) + self.formula(logits, student.detach())
        batch.beside.append(own)
        return self.formula(student, logits.detach())

    @staticmethod
    def formula(network: Tensor, peer: Tensor) -> Tensor:
        """Compare logits [B, K] of the network that learns with those of its peer, a constant."""
        return SoftLabels.formula(network, peer, temperature=1.0)


class RKD(Term):
    """Huber of the pairwise distances of L2-normalised embeddings, and of angles of triples.

    Here the embeddings are the logits. A batch of one does not have pairs and gives 0. Alone, its
    weight is a quarter of the papers': see results/methods.md.

    Source: Park et al., Relational Knowledge Distillation, 2019, equations 5 to 9.
    """

    weight = 0.25

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        return self.formula(batch.student.logits, batch.teacher.logits)

    @staticmethod
    def formula(
        student: Tensor, teacher: Tensor, distance_weight: float = 50.0, angle_weight: float = 100.0
    ) -> Tensor:
        """Compare embeddings.

        Args:
            student: [B, D].
            teacher: [B, D'].
            distance_weight: Of the distances, which are divided by their mean over distinct pairs.
            angle_weight: Of the cosines of the angle at j in the triple (i, j, k).
        """
        if flat.fits(student) and flat.fits(teacher):
            return _CompiledRKD.apply(  # type: ignore[no-any-return]
                student, teacher, distance_weight, angle_weight
            )
        ours, theirs = (_pairs(F.normalize(x, dim=1)) for x in (student, teacher))
        distance = F.smooth_l1_loss(ours[0], theirs[0])
        angle = _AngleHuber.apply(ours[1], theirs[1])
        assert isinstance(angle, Tensor)
        return distance_weight * distance + angle_weight * angle


LOSSES: dict[str, type[Term]] = {"soft": SoftLabels, "rkd": RKD, "dkd": DKD, "dml": DML}


def _divergence(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities [B, K], a mean over the batch."""
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def _decouple(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities [B, 2] of the label and of all others, and [B, K - 1] among the others."""
    places = torch.arange(logits.shape[1] - 1, device=logits.device)
    rest = logits.gather(1, places + (places >= labels[:, None]))
    binary = torch.cat([logits.gather(1, labels[:, None]), rest.logsumexp(1, keepdim=True)], 1)
    return F.log_softmax(binary, dim=1), F.log_softmax(rest, dim=1)


def _pairs(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances [B, B], in their mean over distinct pairs, and unit vectors [B, B, D].

    The vector at [j, i] is from j to i. If two embeddings coincide, both are 0, and constants: the
    gradient of a root at 0 is infinite, and that of a direction grows with 1 / distance.
    """
    difference = embeddings[None, :, :] - embeddings[:, None, :]
    squared = difference.square().sum(2)
    apart = ~(squared <= TINY)  # in this form NaN passes and shows in the loss
    distances = torch.where(apart, squared, 1.0).sqrt()
    directions = difference * (apart / distances).unsqueeze(2)
    distances = distances * apart
    return distances / (distances.sum() / apart.sum().clamp(min=1) + TINY), directions


class _CompiledRKD(torch.autograd.Function):
    """`RKD.formula` in compiled passes, which find its gradient with the value."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, student: Tensor, teacher: Tensor, distance: float, angle: float
    ) -> Tensor:
        loss, gradient = kernels.relations(student, teacher, distance, angle)
        ctx.save_for_backward(gradient)
        return student.new_tensor(loss)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor):  # type: ignore[no-untyped-def]
        (gradient,) = ctx.saved_tensors
        return gradients[0] * gradient, None, None, None


class _AngleHuber(torch.autograd.Function):
    """Mean Huber loss of the cosines [B, B, B] of two sets of directions [B, B, D].

    The cosines at vertex j are D_j D_jᵀ, so the gradient to D_j is twice the clipped difference
    times D_j: computing it in the forward pass spares autograd's copies of [B, B, B], which
    are larger than all activations of a small network.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, student: Tensor, teacher: Tensor) -> Tensor:
        difference = torch.bmm(student, student.transpose(1, 2))
        difference.baddbmm_(teacher, teacher.transpose(1, 2), alpha=-1)
        clipped = difference.clamp(-1, 1)
        # Huber with threshold 1: with c the clipped x it is c (x - c / 2)
        loss = difference.sub_(clipped, alpha=0.5).mul_(clipped).sum()
        ctx.save_for_backward(torch.bmm(clipped, student).mul_(2 / clipped.numel()))
        return loss / clipped.numel()

    @staticmethod
    def backward(ctx, *gradients: Tensor):  # type: ignore[no-untyped-def]
        (gradient,) = ctx.saved_tensors
        return gradients[0] * gradient, None
