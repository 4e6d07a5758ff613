"""Sources of images, by name. A new one is a class with three methods and a row of the table."""

from typing import TYPE_CHECKING

from rolekd.data.sources.cifar import Cifar
from rolekd.data.sources.digits import Digits
from rolekd.data.sources.folder import ImageFolder
from rolekd.data.sources.idx import FashionMnist
from rolekd.data.sources.source import Block, Listing, Source
from rolekd.data.sources.table import Table
from rolekd.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from rolekd.params import DataParams

__all__ = ["SOURCES", "Block", "Listing", "Source", "files", "find", "open_source"]

SOURCES: dict[str, type[Source]] = {
    "digits": Digits,
    "fashion-mnist": FashionMnist,
    "cifar10": Cifar,
    "cifar100": Cifar,
    "image-folder": ImageFolder,
    "csv": Table,
}


def open_source(params: "DataParams") -> Source:
    """Return the source that `params` names."""
    return find(params.source)(params)


def find(name: str) -> type[Source]:
    """Look a source up; an unknown one is an `InputError`."""
    if name not in SOURCES:
        raise InputError(f"data.source: no source {name!r}; {did_you_mean(name, SOURCES)}")
    return SOURCES[name]
