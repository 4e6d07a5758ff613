"""The objective of a training: one protocol for networks with and without a teacher."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rolekd import parallel


@dataclass(frozen=True)
class EpochProgress:
    """Where in a training a batch is.

    Attributes:
        epoch: Finished epochs.
        epochs: Length of the whole training.
        decays: Decay points that this epoch has reached; at each, losses lose weight.
    """

    epoch: int
    epochs: int
    decays: int = 0

    def within(self, fraction: float) -> bool:
        """Whether the batch belongs to the first `fraction` of the training."""
        # the tolerance: see `rolekd.train.rates.decays`
        return self.epoch < fraction * self.epochs - 1e-9


@dataclass(frozen=True)
class Losses:
    """What an objective makes of a batch.

    Attributes:
        task: Cross-entropy with the labels, a scalar.
        transfer: Weighted sum of the losses against a teacher, a scalar.
        parts: Every loss by name, detached, unweighted.
        logits: float [B, K].
        clipped: Like `transfer`, for losses whose gradient is clipped by that of the rest; None:
            there are none.
    """

    task: Tensor
    transfer: Tensor
    parts: dict[str, Tensor]
    logits: Tensor
    clipped: Tensor | None = None

    @property
    def free(self) -> Tensor:
        """The losses whose gradients are not clipped, a scalar."""
        return self.task + self.transfer

    @property
    def total(self) -> Tensor:
        """What the network minimises, a scalar."""
        return self.free if self.clipped is None else self.free + self.clipped

    def scaled(self, factor: float) -> "Losses":
        """Return the same with `factor` times the losses that are minimised."""
        clipped = None if self.clipped is None else factor * self.clipped
        return Losses(factor * self.task, factor * self.transfer, self.parts, self.logits, clipped)


def of_whole_batch(output: Tensor, count: int) -> Tensor:
    """Return what a network made of the whole batch of `count` images, in float32.

    Under torchrun, a process runs its networks on a share of the batch; under autocast, they
    compute in bfloat16. Losses are of the whole batch, in float32.
    """
    return parallel.gather(output.float(), count)


class Objective(nn.Module):
    """Cross-entropy with the labels, and the base of objectives that add to it.

    The parameters of an objective are trained with the network's, and its state is part of the
    training state; neither is part of the network.

    Attributes:
        teacher: The frozen network that runs on every batch; None: there is none.
    """

    teacher: nn.Module | None = None

    def forward(
        self, network: nn.Module, images: Tensor, labels: Tensor, progress: EpochProgress
    ) -> Losses:
        """Run the network, in training mode.

        Args:
            network: Maps images to logits.
            images: float32 [B, C, H, W]; each of several processes has its share of them.
            labels: int64 [B] of the whole batch.
            progress: Where in the training the batch is.

        Returns:
            The losses of the whole batch, in float32: what networks return goes through
            `of_whole_batch` first.
        """
        del progress
        logits = of_whole_batch(network(images), len(labels))
        loss = F.cross_entropy(logits, labels)
        return Losses(loss, loss.new_zeros(()), {"cross_entropy": loss.detach()}, logits)

    def backward(self, losses: Losses, network: nn.Module, progress: EpochProgress) -> None:
        """Add the gradients of `losses` to those of the network and of the objective.

        Each of several processes adds its own; their mean is the gradient of the whole batch. A
        rule that is not linear in the gradients takes their `parallel.average` first.
        """
        del network, progress
        torch.autograd.backward(losses.total)

    def prepare(self, epochs: Callable[[int], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Learn what the objective needs before the network's first epoch.

        Called once for a training; not if its state was loaded.

        Args:
            epochs: Number of an epoch -> its batches, as `Batches.epoch`.
        """
