"""The interface of a source: three methods; test_contract.py tests every source."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import ValidationError

from rolekd.data.dataset import Images, Indices, Labels
from rolekd.errors import InputError
from rolekd.params import DataParams

LONGEST_CLASS_NAME = 100
# what people call a split -> what it is here
_PARTS = {
    name: part
    for part, names in {
        "train": ("train", "training"),
        "val": ("val", "valid", "validation", "dev"),
        "test": ("test", "testing"),
    }.items()
    for name in names
}


@dataclass(frozen=True)
class Listing:
    """What a source holds, known before any image is decoded.

    Attributes:
        names: The name of each image in messages: a file, or a place in one.
        labels: int64 [N], indices into `classes`.
        classes: Names of the classes.
        test: Indices of the source's own test split; None where it has none.
        validation: Indices of its own validation images, likewise.
        ignored: Files that lie among the images and are none by name, or in no class's folder.
        linked: Links to folders, of splits, classes and images, which are not followed.
        outside: Files that are read outside `data.path`, where DVC does not look.
        unread: Columns of a table that are not read.
    """

    names: Sequence[str]
    labels: Labels
    classes: tuple[str, ...]
    test: Indices | None = None
    validation: Indices | None = None
    ignored: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()
    outside: int = 0
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageBlock:
    """Some images, in the order of the listing.

    Attributes:
        images: uint8 [n, H, W, C]; zeros where an image could not be read.
        faults: Place in the block -> why that image could not be read.
        enlarged: Images of the block that were smaller than this, and were enlarged.
    """

    images: Images
    faults: Mapping[int, str] = field(default_factory=dict)
    enlarged: int = 0


class Source(Protocol):
    """Images with labels, from wherever they are.

    The constructor checks the parameters; a wrong one is an `InputError` that names its key.
    """

    def __init__(self, params: DataParams) -> None: ...

    def listing(self) -> Listing:
        """Return the contents of the source; the same at every call."""

    def shape(self) -> tuple[int, int, int]:
        """Return height, width and channels (1 or 3) of every image."""

    def blocks(self) -> Iterator[ImageBlock]:
        """Yield every image of the listing, in its order, a bounded number at a time."""


def part_of(name: str, others: Mapping[str, str] | None = None) -> str | None:
    """Return train, val or test for what people call a split, and None for any other name.

    Args:
        name: Of a folder, a file or in a table, in any case.
        others: Further names -> train, val or test.
    """
    return {**_PARTS, **(others or {})}.get(name.strip().lower())


def check_class_name(name: str, origin: object) -> str:
    """Return the name of a class as it is used; `origin` says in errors where it was found.

    Accents are composed (NFC): a Mac writes the same name in another way.
    """
    name = unicodedata.normalize("NFC", name)
    if not name.strip() or name in (".", ".."):
        raise InputError(f"{origin}: a class has no name; name it")
    if len(name) > LONGEST_CLASS_NAME:
        raise InputError(
            f"{origin}: class name {name[:20]!r}... has {len(name)} characters; "
            f"shorten it to {LONGEST_CLASS_NAME} at most"
        )
    # names become parts of tables, figures and file names
    if any(c in "/\\" or not c.isprintable() for c in name):
        raise InputError(
            f"{origin}: class name {name!r} holds a slash or an unprintable character; rename it"
        )
    return name


def check_native_shape(params: DataParams, side: int, channels: int) -> None:
    """Refuse an image size or channels that the source does not have, and images too large."""
    try:
        DataParams(image_size=side)  # which knows the limits
    except ValidationError as error:
        most = error.errors()[0]["ctx"]["le"]
        raise InputError(
            f"{params.path}: its images are {side}x{side}, more than {most}x{most}; scale them down"
        ) from error
    if params.image_size not in (None, side):
        raise InputError(
            f"data.image_size: the images of {params.source} are {side}x{side}; set {side} or null"
        )
    if params.channels not in (None, channels):
        kind = "gray" if channels == 1 else "RGB"
        raise InputError(
            f"data.channels: the images of {params.source} are {kind}; set {channels} or null"
        )
