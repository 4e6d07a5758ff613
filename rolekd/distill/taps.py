"""Pairing features of the teacher with features of the student."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rolekd.distill.term import NetworkOutputs, Term
from rolekd.errors import InputError
from rolekd.models import Taps, default_taps
from rolekd.params import TapsParams

# a network and the description that its weights file has: model, channels, image_size, ...
Described = tuple[nn.Module, Mapping[str, Any]]


@dataclass(frozen=True)
class Pairs:
    """Module paths, equally many of student and teacher, from the first layer to the last."""

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()


def choose_taps(
    losses: Mapping[str, type[Term]],
    named: TapsParams | None,
    student: Described,
    teacher: Described,
) -> Pairs:
    """Return the taps that the parameters name, or the defaults of both networks, in pairs.

    Defaults that differ in number are paired by relative depth, first with first and last with
    last; the network with more taps leaves some out. Empty if no loss compares features.

    Raises:
        InputError: They differ in number or are too few, or a network lacks such a module, or
            defaults.
    """
    if not any(kind.needs_taps for kind in losses.values()):
        return Pairs()
    pairs = _pair(named, student, teacher)
    for (network, _), paths in ((student, pairs.student), (teacher, pairs.teacher)):
        with Taps(network, paths):
            pass
    for name, kind in losses.items():
        least = kind.needs_taps
        if len(pairs.student) < least:
            raise InputError(
                f"distill.taps: {name} compares at least {least} taps, found {len(pairs.student)}; "
                "name more"
            )
    return pairs


def _pair(named: TapsParams | None, student: Described, teacher: Described) -> Pairs:
    if named is None:
        found = [
            default_taps(network, about["model"], tuple(about["image_size"]))
            for network, about in (student, teacher)
        ]
        count = min(map(len, found))
        return Pairs(*(_spread(paths, count) for paths in found))
    if len(named.student) != len(named.teacher):
        raise InputError(
            f"distill.taps: {len(named.student)} of the student, {len(named.teacher)} of the "
            "teacher; name equally many of each, in matching order"
        )
    return Pairs(named.student, named.teacher)


def probe_outputs(described: Described, paths: Sequence[str]) -> NetworkOutputs:
    """Return what the network makes of images of zeros, without changing the network.

    Raises:
        InputError: A path does not name a module that runs and gives a feature map.
    """
    model, about = described
    height, width = about["image_size"]
    # a copy: quantisers may start from the first tensor that they see
    network = copy.deepcopy(model).eval()
    weight = next(network.parameters())
    images = weight.new_zeros(2, about["channels"], height, width)
    with torch.no_grad(), Taps(network, paths) as taps:
        logits = network(images)
        features = taps.values()
    for path, feature in zip(paths, features, strict=True):
        if not isinstance(feature, torch.Tensor) or feature.ndim != 4:
            raise InputError(
                f"tap {path} of {about['model']}: does not give a feature map; name a module "
                "between the convolutions"
            )
    return NetworkOutputs(logits, features)


def _spread(paths: tuple[str, ...], count: int) -> tuple[str, ...]:
    if count == 1:
        return paths[-1:]
    return tuple(paths[round(n * (len(paths) - 1) / (count - 1))] for n in range(count))
