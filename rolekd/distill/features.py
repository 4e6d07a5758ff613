"""Losses of feature maps: each class has its paper's name, its formula and where it comes from.

Maps are float [B, C, H, W], the teacher's without gradient; every loss is a scalar, a mean over
the batch, summed over the taps. Where two maps differ in size, the larger is averaged down to the
smaller.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rolekd.distill.term import Batch, NetworkOutputs, Pretrained, Setting, Term


class FitNet(Term):
    """Half the mean squared difference of two maps, at every tap: hints, then soft labels.

    Source: Romero et al., FitNets: Hints for Thin Deep Nets, 2015, equation 3.
    """

    companions: ClassVar[Mapping[str, float]] = {"soft": 1.0}
    needs_taps = 1
    needs_adapters = True
    first_phase = True

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        pairs = zip(batch.adapted, batch.teacher.features, strict=True)
        return torch.stack([self.formula(*pair) for pair in pairs]).sum()

    @staticmethod
    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        """Compare maps [B, C, H, W]; the student's come out of its regressor."""
        student, teacher = same_size(student, teacher)
        return 0.5 * F.mse_loss(student, teacher)


class AT(Term):
    """||q_s / ||q_s|| - q_t / ||q_t||||², at every tap; q [H W] sums the squares of all channels.

    Source: Zagoruyko & Komodakis, Paying More Attention to Attention, 2017, equations 1 and 2,
    with the norm squared as in their experiments.
    """

    weight = 10.0
    needs_taps = 1

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        pairs = zip(batch.student.features, batch.teacher.features, strict=True)
        return torch.stack([self.formula(*pair) for pair in pairs]).sum()

    @staticmethod
    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        """Compare maps [B, C, H, W] and [B, C', H', W']."""
        student, teacher = same_size(student, teacher)
        ours, theirs = (
            F.normalize(x.square().sum(1).flatten(1), dim=1) for x in (student, teacher)
        )
        return (ours - theirs).square().sum(1).mean()


class FSP(Term):
    """Squared difference of the flows from each tap to the next, a mean over their entries.

    The flow [C1, C2] is F1ᵀ F2 / (H W), of two maps [H W, C1] and [H W, C2]; the larger is
    max-pooled to the smaller.

    Source: Yim et al., A Gift from Knowledge Distillation, 2017, equations 1 and 2.
    """

    needs_taps = 2
    needs_adapters = True
    first_phase = True

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        pairs = zip(pairwise(batch.adapted), pairwise(batch.teacher.features), strict=True)
        return torch.stack([self.formula(*pair) for pair in pairs]).sum()

    @staticmethod
    def formula(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor]) -> Tensor:
        """Compare maps [B, C1, H1, W1] and [B, C2, H2, W2] with others of the same channels."""
        return F.mse_loss(_flow(*student), _flow(*teacher))


class FT(Term):
    """||f_s / ||f_s|| - f_t / ||f_t||||₁ / √(C H W) of factors [B, C, H, W] of the last tap.

    A paraphraser, which learns from the teacher first, rewrites the teacher's map in half as many
    factors; a translator, which learns with the student, turns the student's map into as many.

    Source: Kim et al., Paraphrasing Complex Network: Network Compression via Factor Transfer,
    2018, equation 3 with p = 1; the root makes the loss independent of the size.
    """

    needs_taps = 1

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        student, teacher = setting.student_channels[-1], setting.teacher_channels[-1]
        factors = max(1, teacher // 2)
        self.paraphraser = Paraphraser(teacher, factors).requires_grad_(False)
        self.translator = nn.Sequential(
            *_convolution(student, student),
            *_convolution(student, factors),
            nn.Conv2d(factors, factors, 3, padding=1),
        )

    @property
    def pretrained(self) -> "Paraphraser":
        """The paraphraser."""
        return self.paraphraser

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        theirs = self.paraphraser(batch.teacher.features[-1])
        return self.formula(self.translator(batch.student.features[-1]), theirs)

    @staticmethod
    def formula(student: Tensor, teacher: Tensor) -> Tensor:
        """Compare factors [B, C, H, W], the translator's with the paraphraser's."""
        ours, theirs = (F.normalize(x.flatten(1), dim=1) for x in same_size(student, teacher))
        root: float = ours.shape[1] ** 0.5
        return F.l1_loss(ours, theirs) * root


class Paraphraser(Pretrained):
    """Rewrites a teacher's map [B, C, H, W] in factors [B, F, H, W], and back.

    Convolutions in both halves, where the paper has transposed ones in the second: with a stride of
    1 they are the same.

    Source: Kim et al. 2018, section 3.1.
    """

    def __init__(self, channels: int, factors: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *_convolution(channels, channels),
            *_convolution(channels, factors),
            nn.Conv2d(factors, factors, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.LeakyReLU(0.1),
            *_convolution(factors, factors),
            *_convolution(factors, channels),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the factors of a map."""
        return self.encoder(x)  # type: ignore[no-any-return]

    def pretraining_loss(self, teacher: NetworkOutputs) -> Tensor:
        """Mean squared error of the map that the factors of the last tap give back."""
        feature = teacher.features[-1]
        return F.mse_loss(self.decoder(self.encoder(feature)), feature)


class AB(Term):
    """r(m - s)² where t > 0, r(m + s)² elsewhere, r = max(0, ·), at every tap.

    The distance from the margin m on the side of the teacher's neuron, before or after its ReLU; a
    mean over all neurons.

    Source: Heo et al., Knowledge Transfer via Distillation of Activation Boundaries Formed by
    Hidden Neurons, 2019, equation 4.
    """

    needs_taps = 1
    first_phase = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        channels = zip(setting.student_channels, setting.teacher_channels, strict=True)
        # also with equal channels: a tap after its ReLU has one sign, its connector gives both
        self.connectors = nn.ModuleList([connector(*pair) for pair in channels])

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        connected = [
            connect(feature)
            for connect, feature in zip(self.connectors, batch.student.features, strict=True)
        ]
        pairs = zip(connected, batch.teacher.features, strict=True)
        return torch.stack([self.formula(*pair) for pair in pairs]).sum()

    @staticmethod
    def formula(student: Tensor, teacher: Tensor, margin: float = 1.0) -> Tensor:
        """Compare maps [B, C, H, W]; the student's come out of its connector.

        Args:
            student: Of either sign.
            teacher: Before or after its ReLU: the sign is the same.
            margin: m, mu in the paper.
        """
        student, teacher = same_size(student, teacher)
        side = torch.where(teacher > 0, 1.0, -1.0).to(student.dtype)
        return F.relu(margin - side * student).square().mean()


LOSSES: dict[str, type[Term]] = {"fitnet": FitNet, "at": AT, "fsp": FSP, "ft": FT, "ab": AB}


def adapter(student: int, teacher: int) -> nn.Module:
    """Map a student's channels to a teacher's: 1x1 convolution and BatchNorm; nothing if equal."""
    return nn.Identity() if student == teacher else connector(student, teacher)


def connector(student: int, teacher: int) -> nn.Sequential:
    """1x1 convolution and BatchNorm: [B, student, H, W] to [B, teacher, H, W], of either sign."""
    return nn.Sequential(nn.Conv2d(student, teacher, 1, bias=False), nn.BatchNorm2d(teacher))


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


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1),
    )
