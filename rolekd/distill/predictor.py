"""How good is an augmentation for a student? Predictors that cost almost nothing."""

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from rolekd.distill.objective import Losses, Objective


class Predictors:
    """Collects, from every batch that a student trains on, predictors of how well it learns.

        with Predictors(objective) as seen:
            ...  # train the student
        seen.values()

    - `teacher_stddev`: the teacher's mean class probabilities of a batch, their standard deviation
      over batches, averaged over the classes. According to Wang et al., What Makes a "Good" Data
      Augmentation in Knowledge Distillation, 2022, section 3, it is smaller for augmentations that
      teach better: the less alike images are, the less the mean over a batch varies.
    - `teacher_only_right`: the share of the images that the teacher gets right and the student
      wrong, 0..1: what is left to learn from it.

    Without a teacher nothing is collected.
    """

    def __init__(self, objective: Objective) -> None:
        self._means: list[Tensor] = []
        self._logits: Tensor | None = None
        self._images = 0
        self._only_right: list[Tensor] = []
        self._hooks = []
        if objective.teacher is not None:
            self._hooks = [
                objective.teacher.register_forward_hook(self._taught),
                objective.register_forward_hook(self._learned),
            ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def values(self) -> dict[str, float]:
        """Return name -> value of the predictors that could be measured."""
        found = {"teacher_stddev": float("nan"), "teacher_only_right": float("nan")}
        if len(self._means) > 1:
            found["teacher_stddev"] = float(torch.stack(self._means).std(dim=0).mean())
        if self._only_right:
            found["teacher_only_right"] = float(sum(self._only_right)) / self._images
        return {name: value for name, value in found.items() if math.isfinite(value)}

    # sums stay on the device: no synchronisation inside an epoch

    def _taught(self, _module: nn.Module, _inputs: object, logits: Tensor) -> None:
        self._logits = logits.detach()
        self._means.append(self._logits.float().softmax(dim=1).mean(dim=0))

    def _learned(self, _module: nn.Module, inputs: tuple[Any, ...], losses: Losses) -> None:
        labels: Tensor = inputs[2]  # network, images, labels, progress
        if self._logits is None:  # no loss needs the teacher's logits
            return
        right = self._logits.argmax(dim=1) == labels
        self._only_right.append((right & (losses.logits.detach().argmax(dim=1) != labels)).sum())
        self._images += len(labels)
        self._logits = None
