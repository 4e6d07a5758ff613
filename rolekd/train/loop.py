"""The training loop: flat, without callbacks; what it reports, it reports once an epoch."""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from rolekd import parallel, processes, seeds
from rolekd.data.batches import Augment, Batches
from rolekd.distill.objective import Objective, Progress
from rolekd.errors import RunError
from rolekd.train import devices, rates
from rolekd.train.average import Average

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


def train(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    augment_at: Callable[[int], Augment],
    objective: Objective,
    params: "TrainingParams",
    *,
    average: Average | None = None,
    first: int = 0,
    last: int | None = None,
    epochs: int | None = None,
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
        params: Schedule, precision, accumulation and clipping; `params.epochs` counts where
            `epochs` is None.
        average: Follows the network, step by step.
        first: First epoch, 0 unless a training goes on.
        last: End; None trains to the last epoch.
        epochs: Length that the schedule refers to.
        after_epoch: Called with the number of finished epochs; saves the state.
        reporters: Hear loss, its parts, accuracy, the last learning rate and speed of every epoch.

    Raises:
        DivergedError: The loss of an epoch is not finite.
    """
    epochs = params.epochs if epochs is None else epochs
    for epoch in range(first, epochs if last is None else last):
        began = time.perf_counter()
        progress = Progress(epoch, epochs, rates.decays(params, epochs, epoch))
        network.train()
        objective.train()
        sums: dict[str, Tensor] = {}
        rate = 0.0
        # dropout depends on (seed, epoch, process) only
        torch.manual_seed(seeds.derive(batches.seed, "noise", epoch, processes.team_rank()))
        for number, (images, labels) in enumerate(batches.epoch(epoch, augment_at(epoch))):
            step = epoch * batches.per_epoch + number
            rate = rates.learning_rate(params, epochs, step, batches.per_epoch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            measured = do_step(network, optimizer, objective, images, labels, progress, params)
            # sums stay on the device: no synchronisation inside an epoch
            for name, value in measured.items():
                sums[name] = sums.get(name, 0) + value
            if average is not None:
                average.update(network, step)
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


def do_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    progress: Progress,
    params: "TrainingParams",
) -> dict[str, Tensor]:
    """Do one optimiser step on a batch float32 [B, C, H, W], labels int64 [B].

    The batch is computed in `params.accumulate` parts one after another, and of each part every
    process takes its share.

    Returns:
        Sums over the images: the losses by name, their weighted total "loss", and hits as
        "accuracy".
    """
    optimizer.zero_grad(set_to_none=True)
    sums: dict[str, Tensor] = {}
    for part in _parts(len(labels), params.accumulate):
        count = part.stop - part.start
        with devices.autocast(images.device, params.precision):
            mine = images[part][parallel.share(count)]
            losses = objective(network, mine, labels[part], progress)
        weight = count / len(labels)
        objective.backward(losses if weight == 1 else losses.scaled(weight), network, progress)
        hits = losses.logits.detach().argmax(1) == labels[part]
        measured = {"loss": losses.total.detach(), "accuracy": hits.float().mean()}
        for name, value in (losses.parts | measured).items():
            sums[name] = sums.get(name, 0) + value * count
    learned = [p for group in optimizer.param_groups for p in group["params"]]
    parallel.average([p.grad for p in learned if p.grad is not None])
    if params.clip_norm:
        torch.nn.utils.clip_grad_norm_(learned, params.clip_norm)
    optimizer.step()
    return sums


def _parts(count: int, number: int) -> list[slice]:
    """Divide the places of a batch into `number` parts whose lengths differ by one at most."""
    ends = [count * i // number for i in range(number + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]
