"""Sources of images by name, and preparing data sets from them."""

from typing import TYPE_CHECKING

from rolekd.errors import InputError, did_you_mean
from rolekd.sources.formats import SOURCES
from rolekd.sources.source import ImageBlock, Listing, Source

if TYPE_CHECKING:
    from rolekd.params import DataParams

__all__ = [
    "SOURCES",
    "ImageBlock",
    "Listing",
    "Source",
    "arrays",
    "decode",
    "download",
    "find",
    "images",
    "listing",
    "open_source",
    "prepare",
    "quality",
    "splits",
]


def open_source(params: "DataParams") -> Source:
    """Return the source that `params` names."""
    return find(params.source)(params)


def find(name: str) -> type[Source]:
    """Look up a source; an unknown one is an `InputError`."""
    if name not in SOURCES:
        raise InputError(f"data.source: unknown source {name!r}; {did_you_mean(name, SOURCES)}")
    return SOURCES[name]
