"""Do the names in the parameters exist, and can the student be deployed? Checked before any work.

Names are of augmentations, sources, networks, losses and modules. A network of another package must
take the images, and as a student have an integer form.
"""

from typing import get_args

import torch

from rolekd.augment import ladder
from rolekd.data import fits
from rolekd.distill import catalogue, taps
from rolekd.errors import InputError, one_line
from rolekd.export import graph
from rolekd.models import zoo
from rolekd.params import DataParams, ModelParams, Params, Role
from rolekd.quantize.lower import lower
from rolekd.sources import find, open_source
from rolekd.sources.prepare import check_labels, split_sizes
from rolekd.stages import plan
from rolekd.train import pretrained, roles

_ANY_SIZE = (32, 32)  # pixels, if only the data know the size


def check(
    params: Params, *, shape: tuple[int, int, int] | None = None, deployed: bool = True
) -> None:
    """Raise `InputError` for a name that does not exist, or a student without an integer form.

    Args:
        params: All parameters.
        shape: Height, width and channels of the images, if they are read already; None: as the
            source says.
        deployed: Whether the student may be exported; a study's never is.
    """
    plan.check(params.compare)
    plan.check_taken(params)
    for name in params.search.ladder:
        try:
            strength = ladder.parse(name)[1]
        except InputError as error:
            raise InputError(f"search.ladder: {error}") from error
        if not strength:
            raise InputError(
                f"search.ladder: {name} does nothing, like none, which is always a candidate; "
                f"leave it out, or name a strength of 1 to {ladder.HIGHEST}"
            )
    find(params.data.source)
    shape = shape or _shape(params.data)
    if shape is not None:
        fits.check_augment(params.augment, shape[:2])
    size, channels = (shape[:2], shape[2]) if shape else (_ANY_SIZE, params.data.channels or 3)
    for role in get_args(Role):
        _check_network(role, getattr(params, role).model, size, channels)
    losses = {name: catalogue.find(name) for name in catalogue.resolve(params.distill.loss)}
    if deployed and (params.student.overrides or params.student.model.name not in zoo.OURS):
        _check_student(params, size, channels)
    if any(loss.needs_taps for loss in losses.values()):
        student, teacher = (_sample(role.model) for role in (params.student, params.teacher))
        taps.choose_taps(losses, params.distill.taps, student, teacher)


def check_weights(params: Params) -> None:
    """Raise `InputError` for weights that are missing, or are another network's.

    Stages do not call it: the stage plan has left them what they need.
    """
    for role in get_args(Role):
        if getattr(params, role).weights is not None:
            pretrained.check_and_write(params, role)


def check_sizes(params: Params) -> None:
    """Raise `InputError` for parameters that do not fit the number of images, if it is known.

    Stages do not call it: prepare asks the same of what it reads, and later ones of what it wrote.
    """
    try:
        source = open_source(params.data)
        size, listing = source.shape()[:2], source.listing()
        check_labels(listing)
    except InputError:  # raw data that are not there yet, or faulty: prepare says which
        return
    fits.check(params, size, split_sizes(listing, params.data, params.seed)[1])


def _sample(params: ModelParams) -> taps.Described:
    """Build a network for some images: its module paths do not depend on them."""
    network = zoo.build(
        params.name, classes=2, channels=3, image_size=_ANY_SIZE, width=params.width, seed=0
    )
    return network, {"model": params.name, "image_size": _ANY_SIZE}


def _shape(params: DataParams) -> tuple[int, int, int] | None:
    """Return height, width and channels of the images, if the source knows them by now."""
    try:
        return open_source(params).shape()
    except InputError:  # raw data that are not there yet
        side = params.image_size
        return (side, side, params.channels or 3) if side else None


def _check_network(role: Role, model: ModelParams, size: tuple[int, int], channels: int) -> None:
    """Refuse a width that a network does not have, and a foreign network that does not run."""
    try:
        zoo.width_of(model.name, model.width)
        if model.name in zoo.OURS:
            return
        network = zoo.build(
            model.name, classes=2, channels=channels, image_size=size, width=model.width, seed=0
        )
    except InputError as error:
        raise InputError(f"{role}.{error}") from error
    images = torch.zeros(2, channels, *size)
    try:
        with torch.no_grad():
            outputs = [network.train(mode)(images) for mode in (True, False)]
    except Exception as error:  # whatever other people's code raises
        raise InputError(
            f"{role}.model {model.name}: does not take images of {size[0]}x{size[1]} "
            f"({one_line(error, 100)}); choose another network, or another data.image_size"
        ) from error
    for output in outputs:
        found = tuple(getattr(output, "shape", ()))
        if found != (2, 2):
            what = "x".join(map(str, found)) or type(output).__name__
            raise InputError(
                f"{role}.model {model.name}: gives {what} in place of logits of two images and two "
                "classes; choose another network"
            )


def _check_student(params: Params, size: tuple[int, int], channels: int) -> None:
    """Build a foreign student and its graph, so that what cannot be exported is refused now."""
    shape = {"classes": 2, "channels": channels, "image_size": [*size]}
    middle = [0.5] * channels
    try:
        network = roles.build(roles.describe_student(params.student, shape), seed=0)
        with torch.no_grad():
            network(torch.zeros(2, channels, *size))  # starts learned steps
        strict = params.export.strict
        found = lower(network, mean=middle, std=middle, image_size=size, strict=strict)
        graph.build(found, params.export.target)
    except InputError as error:
        raise InputError(f"student.model {params.student.model.name}: {error}") from error
