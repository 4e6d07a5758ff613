"""All networks: ours, yours, torchvision's."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import fx

from rolekd.models import external, zoo

# whose layers all have an integer form; tests/models/test_catalogue.py tries them
_CONVERT = ("mnasnet", "mobilenet_", "regnet_x", "resnet", "resnext", "wide_resnet")
_SIZE, _CLASSES = (32, 32), 10


@dataclass(frozen=True)
class CatalogueRow:
    """A network that a params file can name.

    Attributes:
        name: As `model.name` has it.
        origin: Who wrote it.
        width: Whether it takes a width.
        parameters: Their number: of torchvision's with 1000 classes, of others with 10 and, where
            they have it, width 16; None: it cannot be built.
        student: Whether it can be one; for yours, whether it can be traced.
        weights: Names of torchvision's weights.
    """

    name: str
    origin: Literal["rolekd", "yours", "torchvision"]
    width: bool
    parameters: int | None
    student: bool
    weights: tuple[str, ...] = ()


def entries() -> Iterator[CatalogueRow]:
    """Yield all networks that give logits, ours first."""
    for name in zoo.OURS:
        yield _built(name, "rolekd")
    for name in sorted(external.names()):
        yield _built(name, "yours")
    for name in external.torchvision_names():
        if not _returns_several(name):
            yield _of_torchvision(name)


def converts(name: str) -> bool:
    """Return whether a network of torchvision's, its name without the prefix, can be a student."""
    return name.startswith(_CONVERT)


def _returns_several(name: str) -> bool:
    """Return whether a network of torchvision's trains with auxiliary logits, in a tuple."""
    from torchvision import models

    network = inspect.signature(models.get_model_builder(name)).return_annotation
    found = inspect.signature(network.forward).return_annotation
    return inspect.isclass(found) and issubclass(found, tuple)


def _built(name: str, origin: Literal["rolekd", "yours"]) -> CatalogueRow:
    try:
        network = zoo.build(name, classes=_CLASSES, channels=3, image_size=_SIZE, seed=0)
        width = zoo.has_width(name)
    except Exception:  # whatever other people's code raises
        return CatalogueRow(name, origin, False, None, False)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    try:
        fx.symbolic_trace(network)
    except Exception:  # of control flow, in somebody's code
        return CatalogueRow(name, origin, width, parameters, False)
    return CatalogueRow(name, origin, width, parameters, True)


def _of_torchvision(name: str) -> CatalogueRow:
    from torchvision import models

    kind = models.get_model_weights(name)
    return CatalogueRow(
        external.PREFIX + name,
        "torchvision",
        False,
        int(kind.DEFAULT.meta["num_params"]),
        converts(name),
        tuple(sorted(each.name for each in kind)),
    )
