"""What a training minimises: one protocol for networks with and without a teacher."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Progress:
    """Where in a training a batch stands.

    Attributes:
        epoch: Finished epochs.
        epochs: Length of the whole training.
        scale: What the schedule has made of lambda by this epoch, 1 at the start.
    """

    epoch: int
    epochs: int
    scale: float


@dataclass(frozen=True)
class Losses:
    """What an objective makes of a batch.

    Attributes:
        task: Cross-entropy with the labels, a scalar.
        transfer: Lambda times the weighted terms of the distillation, a scalar; None: no teacher.
        parts: Every loss by name, detached, unweighted.
        logits: float [B, K].
    """

    task: Tensor
    transfer: Tensor | None
    parts: dict[str, Tensor]
    logits: Tensor

    @property
    def total(self) -> Tensor:
        """The sum, a scalar."""
        return self.task if self.transfer is None else self.task + self.transfer


class Objective(nn.Module):
    """Cross-entropy with the labels, and the base of objectives that add to it.

    Parameters of an objective are trained beside the network's, and its state is part of the
    training state; neither is part of the network.
    """

    def forward(
        self, network: nn.Module, images: Tensor, labels: Tensor, progress: Progress
    ) -> Losses:
        """Run the network, in training mode, on images float32 [B, C, H, W], labels int64 [B]."""
        del progress
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        return Losses(loss, None, {"cross_entropy": loss.detach()}, logits)

    def backward(self, losses: Losses, network: nn.Module, progress: Progress) -> None:
        """Add the gradients of `losses` to those of the network and of the objective."""
        del network, progress
        torch.autograd.backward(losses.total)
