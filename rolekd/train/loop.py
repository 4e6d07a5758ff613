"""The training loop: flat, without callbacks; what it reports, it reports once an epoch."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from rolekd.data.batches import Augment, Batches
from rolekd.distill.objective import Objective, Progress
from rolekd.errors import RunError

if TYPE_CHECKING:
    from rolekd.params import TrainingParams


class DivergedError(RunError):
    """The loss became NaN or infinite."""


class Reporter(Protocol):
    """Hears the numbers of every epoch: a progress bar, the MLflow run."""

    def epoch(self, metrics: Mapping[str, float], step: int) -> None:
        """Take the metrics of epoch number `step`."""


def make_optimizer(
    network: nn.Module, objective: Objective, params: "TrainingParams"
) -> torch.optim.Optimizer:
    """Build the named optimiser of what the network and the objective have to learn.

    Weight decay acts on weights, not on biases and BatchNorm.
    """
    everything = (*network.parameters(), *objective.parameters())
    parameters = [p for p in everything if p.requires_grad]
    groups = [
        {
            "params": [p for p in parameters if p.ndim > 1],
            "weight_decay": params.weight_decay,
        },
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if params.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=params.learning_rate, momentum=0.9, nesterov=True, fused=True
        )
    kind = torch.optim.Adam if params.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=params.learning_rate, eps=1e-5, fused=True)


def decays(params: "TrainingParams", epochs: int, epoch: int) -> int:
    """Number of decay points that `epoch` has reached, of a training of `epochs` epochs."""
    # the tolerance keeps 0.7 * 10 = 7.000000000000001 from being epoch 8
    return sum(epoch >= fraction * epochs - 1e-9 for fraction in params.decay_at)


def train(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    augment_at: Callable[[int], Augment],
    objective: Objective,
    params: "TrainingParams",
    *,
    first: int = 0,
    last: int | None = None,
    epochs: int | None = None,
    scale_decay: float = 1.0,
    after_epoch: Callable[[int], None] | None = None,
    reporters: Sequence[Reporter] = (),
) -> None:
    """Train epochs `first` up to, not including, `last` of a training of `epochs` epochs.

    Args:
        network: Trained in place; left in evaluation mode.
        optimizer: From `make_optimizer`; its learning rate is set here.
        batches: The split to train on.
        augment_at: Epoch -> the augmentation of its batches.
        objective: Computes the loss.
        params: Learning rate and its decay points; `params.epochs` counts where `epochs` is None.
        first: First epoch, 0 unless a training goes on.
        last: End; None trains to the last epoch.
        epochs: Length that the decay points refer to.
        scale_decay: Multiplies the objective's scale at each decay point.
        after_epoch: Called with the number of finished epochs; saves the state.
        reporters: Hear loss, its parts, accuracy, learning rate and speed of every epoch.

    Raises:
        DivergedError: The loss of an epoch is not finite.
    """
    epochs = params.epochs if epochs is None else epochs
    for epoch in range(first, epochs if last is None else last):
        began = time.perf_counter()
        reached = decays(params, epochs, epoch)
        rate = params.learning_rate * params.decay_factor**reached
        progress = Progress(epoch, epochs, scale_decay**reached)
        for group in optimizer.param_groups:
            group["lr"] = rate
        network.train()
        objective.train()
        sums: dict[str, Tensor] = {}
        for images, labels in batches.epoch(epoch, augment_at(epoch)):
            losses = objective(network, images, labels, progress)
            optimizer.zero_grad(set_to_none=True)
            objective.backward(losses, network, progress)
            optimizer.step()
            # sums stay on the device: no synchronisation inside an epoch
            hits = losses.logits.detach().argmax(1) == labels
            measured = {"loss": losses.total.detach(), "accuracy": hits.float().mean()}
            for name, value in (losses.parts | measured).items():
                sums[name] = sums.get(name, 0) + value * len(labels)
        means = {name: float(value) / batches.images_per_epoch for name, value in sums.items()}
        if not math.isfinite(means["loss"]):
            raise DivergedError(
                f"training: the loss became {means['loss']} in epoch {epoch} at learning rate "
                f"{rate:g}; lower the learning rate"
            )
        speed = batches.images_per_epoch / (time.perf_counter() - began)
        for reporter in reporters:
            reporter.epoch({**means, "learning_rate": rate, "images_per_second": speed}, epoch)
        if after_epoch is not None:
            after_epoch(epoch + 1)
    network.eval()
