"""What a training minimises: one protocol for networks with and without a teacher."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rolekd import parallel


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

    def within(self, fraction: float) -> bool:
        """Whether the batch belongs to the first `fraction` of the training."""
        # the tolerance: see `rolekd.train.loop.decays`
        return self.epoch < fraction * self.epochs - 1e-9


@dataclass(frozen=True)
class Losses:
    """What an objective makes of a batch.

    Attributes:
        task: Cross-entropy with the labels, a scalar.
        transfer: Lambda times the weighted terms of the distillation, a scalar; None: no teacher.
        parts: Every loss by name, detached, unweighted.
        logits: float [B, K].
        clipped: As `transfer`, of the terms whose gradients a rule clips.
        beside: Of what learns beside the network, and teaches it nothing by itself.
    """

    task: Tensor
    transfer: Tensor | None
    parts: dict[str, Tensor]
    logits: Tensor
    clipped: Tensor | None = None
    beside: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """What the network minimises, a scalar."""
        return _sum(self.task, self.transfer, self.clipped)

    @property
    def free(self) -> Tensor:
        """All whose gradients add up as they are, a scalar."""
        return _sum(self.task, self.transfer, self.beside)

    def scaled(self, factor: float) -> "Losses":
        """Return the same with `factor` times the losses that are minimised."""
        names = ("task", "transfer", "clipped", "beside")
        found = {name: getattr(self, name) for name in names}
        return replace(
            self, **{n: factor * value for n, value in found.items() if value is not None}
        )


def _sum(task: Tensor, *others: Tensor | None) -> Tensor:
    return sum((other for other in others if other is not None), start=task)


def of_whole_batch(output: Tensor, count: int) -> Tensor:
    """Return what a network made of the whole batch of `count` images, in float32.

    A process that torchrun started runs its networks on a share of the batch, and under autocast
    they compute in bfloat16; losses are those of the whole batch, in float32.
    """
    return parallel.gather(output.float(), count)


class Objective(nn.Module):
    """Cross-entropy with the labels, and the base of objectives that add to it.

    Parameters of an objective are trained beside the network's, and its state is part of the
    training state; neither is part of the network.
    """

    def forward(
        self, network: nn.Module, images: Tensor, labels: Tensor, progress: Progress
    ) -> Losses:
        """Run the network, in training mode.

        Args:
            network: Maps images to logits.
            images: float32 [B, C, H, W]; of several processes each has its share of them.
            labels: int64 [B] of the whole batch.
            progress: Where in the training the batch stands.

        Returns:
            The losses of the whole batch, in float32; what networks return goes through
            `of_whole_batch` before.
        """
        del progress
        logits = of_whole_batch(network(images), len(labels))
        loss = F.cross_entropy(logits, labels)
        return Losses(loss, None, {"cross_entropy": loss.detach()}, logits)

    def backward(self, losses: Losses, network: nn.Module, progress: Progress) -> None:
        """Add the gradients of `losses` to those of the network and of the objective.

        Of several processes each adds its own; their mean is the gradient of the whole batch. A
        rule that is not linear in gradients takes their `parallel.average` first.
        """
        del network, progress
        torch.autograd.backward(_sum(losses.free, losses.clipped))

    def prepare(self, epochs: Callable[[int], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Learn what the objective needs before the network's first epoch.

        Called once for a training, not when its state was loaded.

        Args:
            epochs: Number of an epoch -> its batches, as `Batches.epoch`.
        """
