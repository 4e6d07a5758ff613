"""Do the names in the parameters exist, and can the student be deployed? Asked before any work.

Names are of augmentations, sources, networks, losses and modules; a student of others' making must
have an integer form.
"""

from typing import TYPE_CHECKING

import torch

from rolekd.augment import ladder
from rolekd.distill import registry, taps
from rolekd.errors import InputError
from rolekd.export import graph
from rolekd.models import zoo
from rolekd.quantize.lower import lower
from rolekd.sources import find
from rolekd.stages import plan
from rolekd.train import roles

if TYPE_CHECKING:
    from rolekd.params import ModelParams, Params

_ANY_SIDE = 32  # pixels, where only the data know


def check(params: "Params", *, deployed: bool = True) -> None:
    """Raise `InputError` for a name that does not exist, or a student without an integer form.

    One that is never `deployed` needs none, such as a study's of 32 bits.
    """
    plan.check(params.compare)
    for name in params.search.ladder:
        try:
            ladder.parse(name)
        except InputError as error:
            raise InputError(f"search.ladder: {error}") from error
    find(params.data.source)
    for model in (params.teacher.model, params.student.model):
        zoo.find(model.name)
    losses = {name: registry.find(name) for name in registry.resolve(params.distill.loss)}
    if deployed and (params.student.overrides or params.student.model.name not in zoo.OURS):
        _check_student(params)
    if any(loss.needs_taps for loss in losses.values()):
        student, teacher = (_sample(role.model) for role in (params.student, params.teacher))
        taps.choose(losses, params.distill.taps, student, teacher)


def _sample(params: "ModelParams") -> taps.Described:
    """Build a network for some images: its module paths do not depend on them."""
    side = (_ANY_SIDE, _ANY_SIDE)
    width = params.width
    network = zoo.build(params.name, classes=2, channels=3, image_size=side, width=width, seed=0)
    return network, {"model": params.name, "image_size": side}


def _check_student(params: "Params") -> None:
    """Build a student of others' making and its graph: what cannot be exported is told now."""
    side, channels = params.data.image_size or _ANY_SIDE, params.data.channels or 3
    shape = {"classes": 2, "channels": channels, "image_size": [side, side]}
    middle = [0.5] * channels
    try:
        network = roles.build(roles.describe_student(params.student, shape), seed=0)
        with torch.no_grad():
            network(torch.zeros(2, channels, side, side))  # starts learned steps
        strict = params.export.strict
        found = lower(network, mean=middle, std=middle, image_size=(side, side), strict=strict)
        graph.build(found, params.export.target)
    except InputError as error:
        raise InputError(f"student.model {params.student.model.name}: {error}") from error
