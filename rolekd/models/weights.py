"""Weights that pass from one network to another."""

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor, nn

from rolekd.errors import InputError, few
from rolekd.models.normalized import NormalizedConv2d

_COUNTER = "num_batches_tracked"  # of BatchNorm; old files lack it, and it decides nothing here
_NAMED = 3  # tensors that one line has room for


@torch.no_grad()
def copy_matching(student: nn.Module, teacher: nn.Module) -> list[str]:
    """Copy the teacher's parameters and statistics where name and shape agree.

    A converted student keeps the names of its float form, so a quantised layer starts from the
    float layer's weights. Returns the names that were copied, in the student's order.
    """
    source = teacher.state_dict()
    for path, module in teacher.named_modules():
        if isinstance(module, NormalizedConv2d):
            source[f"{path}.weight"] = module.scaled_weight()
    copied = []
    for name, tensor in student.state_dict().items():
        if name in source and source[name].shape == tensor.shape:
            tensor.copy_(source[name])
            copied.append(name)
    return copied


@dataclass(frozen=True)
class Adopted:
    """What a network took of somebody's weights.

    Attributes:
        copied: Names that it took, in its order.
        anew: Name -> why it was not taken, of its own tensors: those of stem and classifier.
        unused: Names that the weights have and the network does not.
    """

    copied: list[str]
    anew: dict[str, str]
    unused: list[str]

    def __str__(self) -> str:
        text = f"{len(self.copied)} of {len(self.copied) + len(self.anew)} tensors"
        if self.anew:
            text += f"; new: {few([f'{name} ({why})' for name, why in self.anew.items()])}"
        if self.unused:
            text += f"; not of this network: {few(self.unused, _NAMED)}"
        return text


@torch.no_grad()
def adopt(network: nn.Module, tensors: Mapping[str, Tensor], *, whole: bool = False) -> Adopted:
    """Give a float network what it can take of the weights of another; see `match`."""
    own = network.state_dict()
    tensors = _renamed(own, tensors)
    found = match(network, tensors, whole=whole)
    for name in found.copied:
        own[name].copy_(tensors[name])
    return found


def match(network: nn.Module, tensors: Mapping[str, Tensor], *, whole: bool = False) -> Adopted:
    """Return what a float network can take of the weights of another of its kind.

    The first convolution and the classifier, which is the last layer with weights, may be for
    other images and classes: they keep their own where they do not fit. Names may have a prefix
    more or less than the network's, as of a wrapper that had it as its part.

    Args:
        network: Stays as it is.
        tensors: A state dict.
        whole: Refuse also a stem or a classifier that does not fit.

    Raises:
        InputError: Another layer does not fit, or see `check_values`.
    """
    own = network.state_dict()
    tensors = _renamed(own, tensors)
    fits = {n for n, value in own.items() if n in tensors and tensors[n].shape == value.shape}
    anew = {
        name: f"{_shape(tensors[name])} there, {_shape(value)} here"
        if name in tensors
        else f"not there, {_shape(value)} here"
        for name, value in own.items()
        if name not in fits and not name.endswith(_COUNTER)
    }
    wrong = [name for name in anew if whole or name not in _ends(network)]
    if wrong:
        told = few([f"{name}: {anew[name]}" for name in wrong], _NAMED, "; ")
        end = "to train on from them, set teacher.train to true" if whole else "name their model"
        raise InputError(f"weights of another network ({told}); {end}")
    check_values(
        {name: tensors[name] for name in own if name in fits},
        {name for name, value in own.items() if value.is_floating_point()},
    )
    return Adopted([n for n in own if n in fits], anew, [n for n in tensors if n not in own])


def without_prefix(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Return the modules that all names begin with, as in "model.net.", and the tensors without."""
    modules = zip(*(name.split(".")[:-1] for name in tensors), strict=False)
    shared = takewhile(lambda level: len(set(level)) == 1, modules)
    prefix = "".join(f"{level[0]}." for level in shared)
    return prefix, {name.removeprefix(prefix): value for name, value in tensors.items()}


def _renamed(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return tensors under the names of a network, if one of the two has it inside of a module.

    A checkpoint may have it among others, such as the loss; an import has taken a prefix away that
    may be the network's own.
    """
    if own.keys() & tensors.keys():
        return tensors
    outer, inner = without_prefix(own)
    bare = without_prefix(tensors)[1]
    longer = [{start + name: bare[name] for name in bare} for start in _starts(own, bare)]
    shorter = [
        {
            outer + name.removeprefix(start) if name.startswith(start) else name: tensors[name]
            for name in tensors
        }
        for start in _starts(tensors, inner)
    ]

    def fitting(renamed: Mapping[str, Tensor]) -> int:
        return sum(name in own and own[name].shape == renamed[name].shape for name in renamed)

    return max([tensors, *longer, *shorter], key=fitting)


def _starts(names: Iterable[str], ends: Collection[str]) -> list[str]:
    """Return what stands before `ends` in `names`: module paths, each with its dot."""
    pairs = ((name, end) for name in names for end in ends)
    return sorted({name.removesuffix(end) for name, end in pairs if name.endswith(f".{end}")})


def check_values(tensors: Mapping[str, Tensor], floats: Set[str]) -> None:
    """Refuse weights that no network can begin with.

    Args:
        tensors: By name.
        floats: Names of those that must be floating point numbers, as all parameters; counters of
            BatchNorm, for one, are integers.

    Raises:
        InputError: One has a NaN or an infinity, is complex, or is not floating point.
    """
    for name, value in tensors.items():
        if value.is_complex() or (name in floats and not value.is_floating_point()):
            kind = str(value.dtype).removeprefix("torch.")
            raise InputError(
                f"{name} is {kind}, not floating point; take the float network's weights"
            )
        if not value.isfinite().all():
            raise InputError(f"{name} is not all finite; take other weights")


def scale_stem(network: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """Have a network's first convolution take images x where it took x * scale + shift.

    Exact but at the border, where it pads with zeros, and, in a convolution without a bias, for the
    shift, which the statistics of the BatchNorm behind it take up in training.

    Args:
        network: Changed in place.
        scale: Factor of each channel, [C].
        shift: What is added to each channel, [C].
    """
    path = stem_path(network)
    if path is None:
        return
    stem = network.get_submodule(path)
    assert isinstance(stem, nn.Conv2d)
    with torch.no_grad():
        if stem.bias is not None:
            stem.bias += (stem.weight * shift.view(1, -1, 1, 1)).sum((1, 2, 3))
        stem.weight *= scale.view(1, -1, 1, 1)


def stem_path(network: nn.Module) -> str | None:
    """Return the path of the first convolution."""
    return next((p for p, m in network.named_modules() if isinstance(m, nn.Conv2d)), None)


def classifier_path(network: nn.Module) -> str | None:
    """Return the path of the last layer with weights: a linear one, or a convolution."""
    layers = [p for p, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return layers[-1] if layers else None


def _ends(network: nn.Module) -> set[str]:
    paths = {stem_path(network), classifier_path(network)} - {None}
    return {f"{path}.{name}" for path in paths for name in ("weight", "bias")}


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
