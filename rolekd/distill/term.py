"""The base class of distillation losses, and what they see of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

from torch import Tensor, nn

from rolekd.distill import vectors

TINY = 1e-12  # a length taken for 0; two points with this squared distance coincide
_CANDIDATES = 4  # singular vectors of the student among which the teacher's is looked for


@dataclass(frozen=True)
class NetworkOutputs:
    """What a network makes of a batch, in float32.

    Attributes:
        logits: [B, K].
        features: Its taps [B, C, H, W]; empty if no term needs them.
    """

    logits: Tensor
    features: Sequence[Tensor] = ()

    @cached_property
    def vectors(self) -> list[Tensor]:
        """The first singular vector of every tap, [B, C], without gradient."""
        return [vectors.first(feature) for feature in self.features]


class Batch:
    """What the terms see of a batch; what several of them need is computed once.

    Attributes:
        images: float32 [B, C, H, W], normalised and augmented.
        labels: int64 [B].
        student: With gradient.
        teacher: Without; it lacks logits if no term asks for them.
        beside: Terms append the losses of modules that learn beside the student; they are not
            weighted, and are not part of what the student minimises.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        student: NetworkOutputs,
        teacher: NetworkOutputs,
        adapters: nn.ModuleList,
    ) -> None:
        self.images, self.labels = images, labels
        self.student, self.teacher = student, teacher
        self.beside: list[Tensor] = []
        self._adapters = adapters

    @cached_property
    def adapted(self) -> list[Tensor]:
        """The student's features in the teacher's channels."""
        return [
            adapt(feature)
            for adapt, feature in zip(self._adapters, self.student.features, strict=True)
        ]

    @cached_property
    def aligned(self) -> list[Tensor]:
        """The singular vectors [B, C] of the adapted features that match the teacher's."""
        return [
            vectors.align(vectors.leading(ours, _CANDIDATES), theirs)
            for ours, theirs in zip(self.adapted, self.teacher.vectors, strict=True)
        ]


@dataclass(frozen=True)
class Setting:
    """What a term can be built from.

    Attributes:
        teacher: Frozen.
        student_channels: Of each tap.
        teacher_channels: Of each tap.
        temperature: Of soft labels.
    """

    teacher: nn.Module
    student_channels: Sequence[int]
    teacher_channels: Sequence[int]
    temperature: float


class Pretrained(nn.Module):
    """A module that learns from the teacher before the student's first epoch, then is frozen."""

    def pretraining_loss(self, teacher: NetworkOutputs) -> Tensor:
        """Return what it minimises, a scalar."""
        raise NotImplementedError


class Term(nn.Module):
    """One loss between student and teacher, with the parameters that it trains beside them.

    A subclass says what it needs and when it acts; `forward` is its formula. The module in
    `pretrained` is trained before the student, other modules with the student.

    Attributes:
        weight: Its weight if `distill.loss` is its name alone.
        companions: Losses, with weights, that come with it if `distill.loss` is its name alone.
        needs_teacher: The frozen teacher must run.
        needs_taps: The least number of taps; 0: logits suffice.
        needs_adapters: It compares features, channel by channel.
        first_phase: It acts in the first phase only, in which no other loss acts.
        clipped: The gradient of all losses beside the cross-entropy is clipped to a share of the
            cross-entropy's, for each parameter tensor; see `rolekd.distill.distillation.clip`.
    """

    weight: ClassVar[float] = 1.0
    companions: ClassVar[Mapping[str, float]] = {}
    needs_teacher: ClassVar[bool] = True
    needs_taps: ClassVar[int] = 0
    needs_adapters: ClassVar[bool] = False
    first_phase: ClassVar[bool] = False
    clipped: ClassVar[bool] = False

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.temperature = setting.temperature

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        raise NotImplementedError

    @property
    def pretrained(self) -> Pretrained | None:
        """The module of this term, if any, that learns before the student's first epoch."""
        return None

    def train(self, mode: bool = True) -> Self:
        """Set the mode; what is pretrained keeps the statistics that it has learned."""
        super().train(mode)
        if self.pretrained is not None:
            self.pretrained.eval()
        return self
