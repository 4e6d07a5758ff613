"""The terms of a distillation: what each takes from student and teacher, and trains itself.

A new one is a subclass of `Term` with an entry in `TERMS`; `rolekd.distill.testing` has the tests
that it must pass.
"""

import copy
import itertools
from collections.abc import Sequence
from typing import Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rolekd.distill import hints, losses, relations
from rolekd.distill.connectors import AttentionHeads, Paraphraser, connector, translator
from rolekd.distill.objective import of_whole_batch
from rolekd.distill.term import Batch, Outputs, Setting, Term

_T = TypeVar("_T")


class SoftLabels(Term):
    """Hinton et al. 2015."""

    def forward(self, batch: Batch) -> Tensor:
        """See `losses.soft_labels`."""
        return losses.soft_labels(batch.student.logits, batch.teacher.logits, self.temperature)


class Relational(Term):
    """RKD, Park et al. 2019."""

    def forward(self, batch: Batch) -> Tensor:
        """See `losses.relational`."""
        return losses.relational(batch.student.logits, batch.teacher.logits)


class Decoupled(Term):
    """DKD, Zhao et al. 2022."""

    def forward(self, batch: Batch) -> Tensor:
        """See `losses.decoupled`."""
        return losses.decoupled(
            batch.student.logits, batch.teacher.logits, batch.labels, self.temperature
        )


class Mutual(Term):
    """DML, Zhang et al. 2018: the peer starts as a copy of the teacher and learns on."""

    needs_teacher = False

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.peer = copy.deepcopy(setting.teacher).requires_grad_(True)

    def forward(self, batch: Batch) -> Tensor:
        """See `losses.mutual`; the peer learns from the labels and from the student."""
        logits = of_whole_batch(self.peer(batch.images), len(batch.labels))
        student = batch.student.logits
        own = F.cross_entropy(logits, batch.labels) + losses.mutual(logits, student.detach())
        batch.beside.append(own)
        return losses.mutual(student, logits.detach())


class FitNet(Term):
    """FitNets, Romero et al. 2015, at every tap."""

    needs_taps = 1
    needs_adapters = True
    first_phase = True

    def forward(self, batch: Batch) -> Tensor:
        """See `hints.hint`."""
        pairs = zip(batch.adapted, batch.teacher.features, strict=True)
        return torch.stack([hints.hint(*pair) for pair in pairs]).sum()


class AttentionTransfer(Term):
    """AT, Zagoruyko & Komodakis 2017, at every tap."""

    needs_taps = 1

    def forward(self, batch: Batch) -> Tensor:
        """See `hints.attention`."""
        pairs = zip(batch.student.features, batch.teacher.features, strict=True)
        return torch.stack([hints.attention(*pair) for pair in pairs]).sum()


class Flow(Term):
    """FSP, Yim et al. 2017, between neighbouring taps."""

    needs_taps = 2
    needs_adapters = True
    first_phase = True

    def forward(self, batch: Batch) -> Tensor:
        """See `hints.flow`."""
        pairs = zip(_neighbours(batch.adapted), _neighbours(batch.teacher.features), strict=True)
        return torch.stack([hints.flow(*pair) for pair in pairs]).sum()


class FactorTransfer(Term):
    """FT, Kim et al. 2018, at the last tap."""

    needs_taps = 1

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        channels = setting.teacher_channels[-1]
        factors = max(1, channels // 2)
        self.paraphraser = Paraphraser(channels, factors).requires_grad_(False)
        self.translator = translator(setting.student_channels[-1], factors)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the translator; the paraphraser keeps its statistics."""
        super().train(mode)
        self.paraphraser.eval()
        return self

    def forward(self, batch: Batch) -> Tensor:
        """See `hints.factors`."""
        theirs = self.paraphraser(batch.teacher.features[-1])
        return hints.factors(self.translator(batch.student.features[-1]), theirs)

    @property
    def pupil(self) -> nn.Module:
        """The paraphraser."""
        return self.paraphraser

    def lesson(self, teacher: Outputs) -> Tensor:
        """Mean squared error of the map that the paraphraser gives back."""
        feature = teacher.features[-1]
        return F.mse_loss(self.paraphraser.reconstruct(feature), feature)


class Boundaries(Term):
    """AB, Heo et al. 2019, at every tap."""

    needs_taps = 1
    first_phase = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        channels = zip(setting.student_channels, setting.teacher_channels, strict=True)
        # always: a tap after its ReLU has one sign, its connector has both
        self.connectors = nn.ModuleList([connector(*pair) for pair in channels])

    def forward(self, batch: Batch) -> Tensor:
        """See `hints.boundaries`."""
        connected = [
            connect(feature)
            for connect, feature in zip(self.connectors, batch.student.features, strict=True)
        ]
        pairs = zip(connected, batch.teacher.features, strict=True)
        return torch.stack([hints.boundaries(*pair) for pair in pairs]).sum()


class Kernels(Term):
    """KD-SVD, Lee et al. 2018, between neighbouring taps."""

    needs_taps = 2
    needs_adapters = True
    clipped = True

    def forward(self, batch: Batch) -> Tensor:
        """See `relations.kernels`."""
        return relations.kernels(batch.aligned, batch.teacher.vectors)


class Graphs(Term):
    """MHGD, Lee & Song 2019, between neighbouring taps; its heads learn from the teacher first."""

    needs_taps = 2
    needs_adapters = True
    clipped = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        pairs = _neighbours(setting.teacher_channels)
        self._heads = [AttentionHeads(*pair) for pair in pairs]
        self.heads = nn.ModuleList(self._heads).requires_grad_(False)

    def forward(self, batch: Batch) -> Tensor:
        """See `relations.graphs`."""
        ours, theirs = self._scores(batch.aligned), self._scores(batch.teacher.vectors)
        pairs = zip(ours, theirs, strict=True)
        return torch.stack([relations.graphs(*pair) for pair in pairs]).sum()

    @property
    def pupil(self) -> nn.Module:
        """The heads."""
        return self.heads

    def lesson(self, teacher: Outputs) -> Tensor:
        """One minus the cosine of the predicted vectors and the teacher's, summed over stages."""
        pairs = _neighbours(teacher.vectors)
        cosines = [
            F.cosine_similarity(heads.predict(*pair), pair[1]).mean()
            for heads, pair in zip(self._heads, pairs, strict=True)
        ]
        return (1 - torch.stack(cosines)).sum()

    def _scores(self, stages: Sequence[Tensor]) -> list[Tensor]:
        pairs = _neighbours(stages)
        return [heads.scores(*pair) for heads, pair in zip(self._heads, pairs, strict=True)]


TERMS: dict[str, type[Term]] = {
    "soft": SoftLabels,
    "rkd": Relational,
    "dkd": Decoupled,
    "dml": Mutual,
    "fitnet": FitNet,
    "at": AttentionTransfer,
    "fsp": Flow,
    "ft": FactorTransfer,
    "ab": Boundaries,
    "kdsvd": Kernels,
    "mhgd": Graphs,
}


def _neighbours(items: Sequence[_T]) -> list[tuple[_T, _T]]:
    return list(itertools.pairwise(items))
