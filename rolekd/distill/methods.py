"""Methods of distillation: which terms, with which weights, on what scale over the epochs."""

import difflib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rolekd.distill import losses
from rolekd.distill.objective import Losses, Objective, Progress, of_whole_batch
from rolekd.errors import InputError

if TYPE_CHECKING:
    from rolekd.params import DistillParams

# student logits [B, K], teacher logits [B, K], temperature -> scalar
Term = Callable[[Tensor, Tensor, float], Tensor]

TERMS: dict[str, Term] = {
    "soft": losses.soft_labels,
    "rkd": lambda student, teacher, _: losses.relational(student, teacher),
}


class Distillation(Objective):
    """Cross-entropy plus lambda times the weighted terms against a frozen teacher.

    Args:
        teacher: Frozen and put into evaluation mode; not part of the objective's state.
        params: Terms, temperature and lambda.
    """

    def __init__(self, teacher: nn.Module, params: "DistillParams") -> None:
        super().__init__()
        # in a list: a submodule would be saved with every training state
        self._teachers = [teacher.eval().requires_grad_(False)]
        self._terms = [(name, _term(name), weight) for name, weight in params.terms.items()]
        self._temperature = params.temperature
        self._lambda = params.scale

    def forward(
        self, network: nn.Module, images: Tensor, labels: Tensor, progress: Progress
    ) -> Losses:
        """Run student and teacher on the same batch; see `Objective.forward`."""
        logits = of_whole_batch(network(images), len(labels))
        with torch.no_grad():
            taught = of_whole_batch(self._teachers[0](images), len(labels))
        with torch.autocast(images.device.type, enabled=False):  # losses are float32
            task = F.cross_entropy(logits, labels)
            parts = {"cross_entropy": task.detach()}
            transfer = task.new_zeros(())
            for name, term, weight in self._terms:
                value = term(logits, taught, self._temperature)
                parts[name] = value.detach()
                transfer = transfer + (self._lambda * progress.scale * weight) * value
        return Losses(task, transfer, parts, logits)


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
