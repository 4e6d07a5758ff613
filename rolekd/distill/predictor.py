"""How good is an augmentation for a student? A guess that needs the teacher alone."""

from typing import Self

import torch
from torch import Tensor, nn


class MeanProbability:
    """Collects a teacher's mean class probabilities of every batch that it sees.

    Their standard deviation over batches is smaller for augmentations that teach better, say
    Wang et al., What Makes a "Good" Data Augmentation in Knowledge Distillation, 2022, section 3:
    images that are less alike make the mean over a batch vary less.

        with MeanProbability(teacher) as seen:
            ...  # train the student
        seen.stddev()

    Without a teacher there is nothing to collect.
    """

    def __init__(self, teacher: nn.Module | None) -> None:
        self._means: list[Tensor] = []
        self._hook = None if teacher is None else teacher.register_forward_hook(self._collect)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._hook.remove()

    def stddev(self) -> float:
        """Return the standard deviation over batches, averaged over classes; NaN below two."""
        if len(self._means) < 2:
            return float("nan")
        return float(torch.stack(self._means).std(dim=0).mean())

    def _collect(self, _module: nn.Module, _inputs: object, logits: Tensor) -> None:
        # stays on the device: no synchronisation inside an epoch
        self._means.append(logits.detach().float().softmax(dim=1).mean(dim=0))
