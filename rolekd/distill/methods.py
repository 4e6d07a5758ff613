"""Methods of distillation: which terms, with which weights, on what scale over the epochs."""

import difflib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rolekd.distill import losses
from rolekd.errors import InputError

if TYPE_CHECKING:
    from rolekd.params import DistillParams

# student logits [B, K], teacher logits [B, K], temperature -> scalar
Term = Callable[[Tensor, Tensor, float], Tensor]

TERMS: dict[str, Term] = {
    "soft": losses.soft_labels,
    "rkd": lambda student, teacher, _: losses.relational(student, teacher),
}


class CrossEntropy:
    """The objective of a network that has no teacher."""

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, epoch_scale: float
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """See `Distillation.__call__`; `epoch_scale` has no effect."""
        del epoch_scale
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        return loss, {"cross_entropy": loss.detach()}, logits


class Distillation:
    """Cross-entropy plus lambda times the weighted terms against a frozen teacher."""

    def __init__(self, teacher: nn.Module, params: "DistillParams") -> None:
        self._teacher = teacher.eval().requires_grad_(False)
        self._terms = [(name, _term(name), weight) for name, weight in params.terms.items()]
        self._temperature = params.temperature
        self._scale = params.scale

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, epoch_scale: float
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return the loss, its detached parts by name, and the logits [B, K].

        Args:
            network: The student, in training mode.
            images: float32 [B, C, H, W]; teacher and student see the same batch.
            labels: int64 [B].
            epoch_scale: What the schedule has made of lambda by this epoch, 1 at the start.
        """
        logits = network(images)
        with torch.no_grad():
            taught = self._teacher(images)
        loss = F.cross_entropy(logits, labels)
        parts = {"cross_entropy": loss.detach()}
        for name, term, weight in self._terms:
            value = term(logits, taught, self._temperature)
            parts[name] = value.detach()
            loss = loss + (self._scale * epoch_scale * weight) * value
        return loss, parts, logits


def check(terms: Mapping[str, float]) -> None:
    """Raise `InputError` for a term that does not exist."""
    for name in terms:
        _term(name)


def _term(name: str) -> Term:
    if name not in TERMS:
        near = difflib.get_close_matches(name, TERMS, n=1)
        raise InputError(
            f"distill.terms.{name}: no such loss; "
            + (f"did you mean {near[0]}?" if near else f"choose from {', '.join(TERMS)}")
        )
    return TERMS[name]
