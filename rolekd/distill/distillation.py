"""Cross-entropy plus the weighted losses against a frozen teacher."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rolekd import parallel
from rolekd.distill import catalogue, taps
from rolekd.distill.features import adapter
from rolekd.distill.objective import EpochProgress, Losses, Objective, of_whole_batch
from rolekd.distill.requantize import quantizers, requantized
from rolekd.distill.taps import Described
from rolekd.distill.term import Batch, NetworkOutputs, Setting
from rolekd.errors import InputError
from rolekd.models import Taps, folded
from rolekd.params import DistillParams

_TINY = 1e-30


class Distillation(Objective):
    """Cross-entropy plus the weighted losses against a frozen teacher.

    Adapters, and whatever else the losses train, are its parameters.

    Args:
        student: The network that this objective trains, and its description.
        teacher: Frozen and put into evaluation mode; not part of the objective's state.
        params: Losses, taps, temperature, weight, phases.
        seed: Of the initial weights of what the losses train.

    Raises:
        InputError: Losses or taps do not exist or cannot be combined, or class counts differ.
    """

    def __init__(
        self, student: Described, teacher: Described, params: DistillParams, seed: int
    ) -> None:
        super().__init__()
        self._params, self._weights = params, catalogue.resolve(params.loss)
        kinds = {name: catalogue.find(name) for name in self._weights}
        self._needs_teacher = any(kind.needs_teacher for kind in kinds.values())
        teacher[0].eval().requires_grad_(False)
        pairs = taps.choose_taps(kinds, params.taps, student, teacher)
        # in a list: a submodule would be saved with every training state
        self._teachers = [folded(teacher[0], keep=pairs.teacher)]
        ours, theirs = (
            taps.probe_outputs(student, pairs.student),
            taps.probe_outputs(teacher, pairs.teacher),
        )
        _compare_classes(ours, theirs)
        setting = Setting(
            teacher[0],
            [feature.shape[1] for feature in ours.features],
            [feature.shape[1] for feature in theirs.features],
            params.temperature,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            channels = zip(setting.student_channels, setting.teacher_channels, strict=True)
            adapts = any(kind.needs_adapters for kind in kinds.values())
            adapters = nn.ModuleList([adapter(*pair) for pair in channels] if adapts else [])
            self._terms = {name: kind(setting) for name, kind in kinds.items()}
        self._adapters, self.terms = adapters, nn.ModuleDict(self._terms)
        self._teacher_paths = pairs.teacher
        # in a tuple: they are the student's, not parts of the objective
        self._quantizers = quantizers(student[0], pairs.student) if params.quantize_teacher else ()
        # attached once: hooks that come and go would recompile a network in every step
        self._student_taps = Taps(student[0], pairs.student)
        self.to(next(student[0].parameters()).device)

    @property
    def teacher(self) -> nn.Module:  # type: ignore[override]
        """The teacher as it runs: what `rolekd.models.folded` makes of the one given."""
        return self._teachers[0]

    def prepare(self, epochs: Callable[[int], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Train on the teacher what some losses need before the student's first epoch."""
        found = [term.pretrained for term in self._terms.values()]
        pretrained = [module for module in found if module is not None]
        if not pretrained:
            return
        modules = nn.ModuleList(pretrained).train().requires_grad_(True)
        optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3)
        for epoch in range(self._params.prepare_epochs):
            # numbers before the first epoch: the training's own random streams are left alone
            for images, _ in epochs(-1 - epoch):
                outputs = self._teach(images[parallel.share(len(images))], len(images))
                optimizer.zero_grad(set_to_none=True)
                losses = torch.stack([module.pretraining_loss(outputs) for module in pretrained])
                torch.autograd.backward(losses.sum())
                optimizer.step()
        modules.requires_grad_(False)

    def forward(
        self, network: nn.Module, images: Tensor, labels: Tensor, progress: EpochProgress
    ) -> Losses:
        """Run student and teacher on the same batch; see `Objective.forward`."""
        ours = _outputs(network(images), self._student_taps, len(labels))
        self._student_taps.features.clear()  # or they would live until the next batch
        theirs = NetworkOutputs(ours.logits.new_empty(0))
        if self._needs_teacher:
            theirs = self._teach(images, len(labels))
        batch = Batch(images, labels, ours, theirs, self._adapters)
        # singular vectors and triples of images want more than 8 bits
        with torch.autocast(images.device.type, enabled=False):
            return self._losses(batch, progress)

    def _losses(self, batch: Batch, progress: EpochProgress) -> Losses:
        task = F.cross_entropy(batch.student.logits, batch.labels)
        parts = {"cross_entropy": task.detach()}
        first = self._in_first_phase(progress)
        weight = self._params.weight * self._params.decay_factor**progress.decays
        total = task.new_zeros(())
        clips = False
        for name, term in self._terms.items():
            if term.first_phase != first:
                parts[name] = task.new_zeros(())
                continue
            value = term(batch)
            parts[name] = value.detach()
            total = total + weight * self._weights[name] * value
            clips |= term.clipped
        # without a cross-entropy there is nothing to clip by
        clips = clips and not first and total.requires_grad
        transfer = task.new_zeros(()) if clips else total
        for own in batch.beside:
            # 0, and yet its gradient reaches what learns beside the student, and only that
            transfer = transfer + (own - own.detach())
        return Losses(
            task.new_zeros(()) if first else task,
            transfer,
            parts,
            batch.student.logits,
            clipped=total if clips else None,
        )

    def backward(self, losses: Losses, network: nn.Module, progress: EpochProgress) -> None:
        """Add gradients; those of the losses, if one of them is clipped, as `clip` bounds them."""
        if losses.clipped is None:
            super().backward(losses, network, progress)
            return
        weights = [p for p in network.parameters() if p.requires_grad]
        own = [p for p in self.parameters() if p.requires_grad]
        free = torch.autograd.grad(
            losses.free, [*weights, *own], retain_graph=True, allow_unused=True
        )
        other = torch.autograd.grad(losses.clipped, [*weights, *own], allow_unused=True)
        count = len(weights)
        parallel.average([g for g in (*free, *other) if g is not None])
        bounded = clip(other[:count], free[:count], clip_share(progress.epoch))
        for parameter, *parts in zip(
            [*weights, *own], free, [*bounded, *other[count:]], strict=True
        ):
            for gradient in parts:
                _accumulate(parameter, gradient)

    def _teach(self, images: Tensor, count: int) -> NetworkOutputs:
        teacher = self.teacher
        with torch.no_grad(), Taps(teacher, self._teacher_paths) as tapped:
            outputs = _outputs(teacher(images), tapped, count)
        if not self._quantizers:
            return outputs
        pairs = zip(outputs.features, self._quantizers, strict=True)
        return NetworkOutputs(outputs.logits, [requantized(*pair) for pair in pairs])

    def _in_first_phase(self, progress: EpochProgress) -> bool:
        prepares = any(term.first_phase for term in self._terms.values())
        return prepares and progress.within(self._params.first_phase_fraction)


def clip_share(epoch: int) -> float:
    """Return the sigmoid of the epoch, 1/2 in the first: the limit of clipped gradients."""
    return 1 / (1 + math.exp(-epoch))


@torch.no_grad()
def clip(
    gradients: Sequence[Tensor | None], references: Sequence[Tensor | None], limit: float
) -> list[Tensor | None]:
    """Clip each tensor's gradient to `limit` times the length of its reference.

    Without a reference, or with one of zeros, nothing is left of a gradient.

    Source: Lee et al. 2018, section 3.3, in the form of Fu et al.'s code: the sigmoid of the
    epoch in place of the ratio of the losses, and one gradient of all losses, RKD's included,
    clipped by that of the cross-entropy.
    """
    pairs = [
        (index, gradient, reference)
        for index, (gradient, reference) in enumerate(zip(gradients, references, strict=True))
        if gradient is not None and reference is not None
    ]
    clipped: list[Tensor | None] = [None] * len(gradients)
    if pairs:
        places, ours, theirs = zip(*pairs, strict=True)
        # one kernel for all tensors; nothing waits for a GPU
        lengths, allowed = torch._foreach_norm(ours), torch._foreach_norm(theirs)
        for place, gradient, length, most in zip(places, ours, lengths, allowed, strict=True):
            clipped[place] = gradient * (limit * most / (length + _TINY)).clamp(max=1)
    return clipped


def _outputs(logits: Tensor, tapped: Taps, count: int) -> NetworkOutputs:
    features = [of_whole_batch(feature, count) for feature in tapped.values()]
    return NetworkOutputs(of_whole_batch(logits, count), features)


def _accumulate(parameter: nn.Parameter, gradient: Tensor | None) -> None:
    if gradient is not None:
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _compare_classes(student: NetworkOutputs, teacher: NetworkOutputs) -> None:
    ours, theirs = student.logits.shape[1], teacher.logits.shape[1]
    if ours != theirs:
        raise InputError(
            f"distill: the student has {ours} classes, its teacher {theirs}; train the "
            "teacher on this data"
        )
