"""A training as one object: everything that its epochs change. The loop over batches is flat."""

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from rolekd import parallel, processes, seeds
from rolekd.data import fits
from rolekd.data.batches import Augment, Batches
from rolekd.data.dataset import Indices
from rolekd.distill.objective import EpochProgress, Objective
from rolekd.errors import HopelessError, InputError
from rolekd.models import as_products
from rolekd.params import TrainingParams
from rolekd.quantize.changes import levels, share_changed
from rolekd.quantize.dead import dead
from rolekd.quantize.switch import quantise
from rolekd.train import damping, devices, fingerprint, rates, state
from rolekd.train.augmentation import Following
from rolekd.train.average import Average
from rolekd.train.batchnorm import reestimate
from rolekd.train.optimizer import make_optimizer
from rolekd.train.state import EpochRow
from rolekd.train.strengths import Strengths, confidence
from rolekd.train.synced import synchronise


class DivergedError(HopelessError):
    """The loss became NaN or infinite."""


class Training:
    """A training of a network, before, between or after its epochs.

        training = Training(network, objective, batches, augment_at, params)
        training.resume(path)
        training.prepare()
        while not training.finished:
            training.run_epoch()
            training.save(path)

    All random streams are functions of the epoch: stopped and resumed, a training ends in the same
    weights, bit by bit. It does not report: `run_epoch` returns all results.

    Args:
        network: Trained in place, on its device.
        objective: Computes the loss.
        batches: The split to train on.
        augment_at: Epoch -> the augmentation of its batches; one that follows a network will follow
            this one.
        params: Length, optimiser and learning rate, precision, accumulation, clipping, average.

    Attributes:
        network: As given; in evaluation mode after an epoch.
        objective: As given.
        params: As given.
        optimizer: Of what network and objective have to learn.
        history: A row of metrics for each finished epoch, without the speed: equal trainings have
            equal rows.

    Raises:
        InputError: Options that cannot be combined.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        batches: Batches,
        augment_at: Callable[[int], Augment],
        params: TrainingParams,
    ) -> None:
        _check_processes(params)
        fits.check_batches("training", params, batches.images_per_epoch, parallel.world_size())
        self.network, self.objective, self.params = network, objective, params
        self._strengths = None
        if isinstance(augment_at, Following):
            self._strengths = Strengths(batches.images_per_epoch)
            augment_at = dataclasses.replace(augment_at, strengths=self._strengths)
        self._batches, self._augment_at = batches, augment_at
        self._owner = fingerprint.of(network, objective, batches, params)
        self._damping = damping.weight_of(network)
        self._average = Average(network, params.ema_decay) if params.ema_decay else None
        if _on_gpu(network):
            # the order of the images; else a GPU's convolutions reorder their weights in every step
            network.to(memory_format=torch.channels_last)
        for module in (network, objective):
            synchronise(module)
            as_products(module)
        if params.compile:
            # a gradient rule goes back twice through a forward pass, so its memory must stay
            from torch._functorch import config

            config.donated_buffer = False
            network.compile()
        self.optimizer = make_optimizer(network, objective, params)
        self.history: list[EpochRow] = []

    @property
    def epoch(self) -> int:
        """Number of finished epochs, and of the next one."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done."""
        return self.epoch == self.params.epochs

    def resume(self, path: Path, *, any_seed: bool = False) -> bool:
        """Continue where `save` wrote `path`; False: the file does not exist.

        Args:
            path: The state; it is restored whole, or nothing changes.
            any_seed: Also take the state of a training whose batches have another seed.

        Raises:
            StateError: The state is damaged, or another training's.
            RunError: It cannot be read.
        """
        owner = {part: d for part, d in self._owner.items() if not (any_seed and part == "seed")}
        try:
            self.history = state.load(
                path, self._modules(), self.optimizer, owner, self.params.epochs
            )
        except FileNotFoundError:
            return False
        return True

    def save(self, path: Path) -> None:
        """Write all that the epochs have changed, atomically."""
        state.save(path, self._modules(), self.optimizer, self._owner, self.history)

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """Turn failures of a GPU in this training into one line; see `devices.explained`."""
        weights = sum(parameter.numel() for parameter in self.network.parameters())
        return devices.explained(f"a network of {weights:,} weights", self.params.batch_size)

    def prepare(self) -> None:
        """Let the objective learn what it needs before the first epoch; later do nothing."""
        if not self.history:
            augment = self._augment_at(0)
            self.objective.prepare(
                lambda epoch: (batch[:2] for batch in self._batches.epoch(epoch, augment))
            )

    def run_epoch(self) -> dict[str, float]:
        """Train one epoch.

        Returns:
            Means over its images of the losses by name, of their weighted total "loss" and of
            "accuracy"; the last "learning_rate"; for a low-bit network "levels_changed", the share
            of its weights that end the epoch on another level; for an augmentation that follows the
            network "strength", the mean over all images as the next epoch begins;
            "images_per_second".

        Raises:
            DivergedError: The loss is not finite.
        """
        began = time.perf_counter()
        params, batches, epoch = self.params, self._batches, self.epoch
        progress = EpochProgress(epoch, params.epochs, rates.decays(params, params.epochs, epoch))
        self._switch(epoch)
        before = levels(self.network)
        self.network.train()
        self.objective.train()
        sums: dict[str, Tensor] = {}
        shown: list[tuple[Indices, Tensor]] = []
        rate = highest = 0.0
        # dropout depends on (seed, epoch, process) only
        torch.manual_seed(seeds.derive(batches.seed, "noise", epoch, processes.team_rank()))
        augment = self._augment_at(epoch)
        for number, (images, labels, places) in enumerate(batches.epoch(epoch, augment)):
            step = epoch * batches.per_epoch + number
            rate = rates.learning_rate(params, params.epochs, step, batches.per_epoch)
            highest = max(highest, rate)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            # sums stay on the device: no synchronisation inside an epoch
            step_sums, logits = self.step(images, labels, progress)
            for name, value in step_sums.items():
                sums[name] = sums.get(name, 0) + value
            if self._strengths is not None:
                shown.append((places, confidence(logits)))
            if self._average is not None:
                self._average.update(self.network, self._since_switch(step))
        self.network.eval()
        means = {name: float(value) / batches.images_per_epoch for name, value in sums.items()}
        if not math.isfinite(means["loss"]):
            raise DivergedError(
                f"training: the loss became {means['loss']} in epoch {epoch} at learning rate "
                f"{highest:g}; lower the learning rate"
            )
        speed = batches.images_per_epoch / (time.perf_counter() - began)
        metrics = {**means, "learning_rate": rate}
        if before:
            metrics["levels_changed"] = share_changed(before, levels(self.network))
        if self._strengths is not None:
            self._strengths.learn(shown)
            metrics["strength"] = self._strengths.mean()
        self.history.append({"epoch": epoch, **metrics})
        return {**metrics, "images_per_second": speed}

    def step(
        self, images: Tensor, labels: Tensor, progress: EpochProgress
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Do one optimiser step on a batch float32 [B, C, H, W], labels int64 [B].

        The batch is computed in `params.accumulate` parts, one after another; every process takes
        its share of each part.

        Returns:
            Sums over the images: the losses by name, their weighted total "loss", and hits as
            "accuracy"; "damping", if there is any, is a loss, too. And the logits float32 [B, K]
            that the losses were computed from, the same in all processes.
        """
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        outputs: list[Tensor] = []
        for part in _parts(len(labels), self.params.accumulate):
            count = part.stop - part.start
            with devices.autocast(images.device, self.params.precision):
                mine = images[part][parallel.share(count)]
                losses = self.objective(self.network, mine, labels[part], progress)
            weight = count / len(labels)
            weighted = losses if weight == 1 else losses.scaled(weight)
            self.objective.backward(weighted, self.network, progress)
            outputs.append(losses.logits.detach())
            hits = outputs[-1].argmax(1) == labels[part]
            measured = {"loss": losses.total.detach(), "accuracy": hits.float().mean()}
            for name, value in (losses.parts | measured).items():
                sums[name] = sums.get(name, 0) + value * count
        if self._damping:
            self._damp(progress, len(labels), sums)
        learned = [p for group in self.optimizer.param_groups for p in group["params"]]
        parallel.average([p.grad for p in learned if p.grad is not None])
        if self.params.clip_norm:
            torch.nn.utils.clip_grad_norm_(learned, self.params.clip_norm)
        self.optimizer.step()
        return sums, torch.cat(outputs)

    def _switch(self, epoch: int) -> None:
        """Turn the quantisation off in the first epochs, if they are to be in float, then on."""
        if self.params.float_epochs:
            quantise(self.network, epoch >= self.params.float_epochs)
            if self._average is not None:
                quantise(self._average.network, epoch >= self.params.float_epochs)

    def _since_switch(self, step: int) -> int:
        """Return the number of a step among the float or the quantised ones.

        The average begins anew when the quantisation does, which changes what the weights compute.
        """
        first = self.params.float_epochs * self._batches.per_epoch
        return step if step < first else step - first

    def _damp(self, progress: EpochProgress, count: int, sums: dict[str, Tensor]) -> None:
        """Add the gradient of the damping, the same in all processes, and its sums."""
        if progress.epoch < self.params.float_epochs:
            sums["damping"] = torch.zeros_like(sums["loss"])
            return
        distance = damping.distance(self.network)
        weighted = self._damping * damping.weight_share(progress) * distance
        torch.autograd.backward(weighted)
        sums["damping"] = distance.detach() * count
        sums["loss"] = sums["loss"] + weighted.detach() * count

    def conclude(self) -> nn.Module:
        """Return the network to evaluate; the training does not continue after it.

        It is the average of the weights if one is kept. With `params.reestimate_batchnorm` its
        BatchNorm statistics are computed anew with its weights, over whole batches of at most that
        many images, with the augmentation of the last epoch.
        """
        network = self.network if self._average is None else self._average.network
        if self.params.reestimate_batchnorm:
            synchronise(network)  # an average was built without it
            reestimate(network, self._images_anew())
        return network.eval()

    def dead_quantizers(self) -> list[str]:
        """Return the paths of quantisers whose values are all on one level, on one batch."""
        images, *_ = next(self._batches.epoch(self.epoch, self._augment_at(self.epoch - 1)))
        return dead(self.network, images)

    def _images_anew(self) -> Iterator[Tensor]:
        """Yield this process's images of the batches that follow the last epoch's, in parts."""
        augment = self._augment_at(self.epoch - 1)
        epochs = (self._batches.epoch(epoch, augment) for epoch in itertools.count(self.epoch))
        count = self.params.reestimate_batchnorm // self.params.batch_size
        for images, *_ in itertools.islice(itertools.chain.from_iterable(epochs), count):
            for part in _parts(len(images), self.params.accumulate):
                yield images[part][parallel.share(part.stop - part.start)]

    def _modules(self) -> dict[str, nn.Module]:
        """Return all that has weights or statistics, by the prefix of their names in a state."""
        average = None if self._average is None else self._average.network
        found = {
            "network.": self.network,
            "objective.": self.objective,
            "average.": average,
            "strengths.": self._strengths,
        }
        return {prefix: module for prefix, module in found.items() if module is not None}


def _on_gpu(network: nn.Module) -> bool:
    return next(network.parameters()).device.type == "cuda"


def _parts(count: int, number: int) -> list[slice]:
    """Divide the places of a batch into `number` parts whose lengths differ by one at most."""
    ends = [count * i // number for i in range(number + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def _check_processes(params: TrainingParams) -> None:
    """Refuse options that torchrun's processes cannot share."""
    if parallel.world_size() > 1 and params.compile:
        raise InputError("training.compile: cannot be combined with torchrun; set it to false")
