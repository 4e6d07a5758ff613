"""Shared by the sources of image files: parameters, and decoding in parallel."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rolekd.errors import InputError, few
from rolekd.params import DataParams
from rolekd.sources import decode
from rolekd.sources.source import ImageBlock, Listing


class FoundFiles(NamedTuple):
    """Contents of a folder, at any depth, without hidden files.

    Attributes:
        images: Files with the suffix of an image.
        others: All other files.
        links: To folders; they are not followed.
    """

    images: list[Path]
    others: list[Path]
    links: list[Path]


def required_shape(params: DataParams) -> tuple[int, int, int]:
    """Return the shape in `params`; image files do not share one."""
    if params.image_size is None:
        raise InputError(
            f"data.image_size: {params.source} needs the size of the images; "
            "set it, for instance to 32"
        )
    return params.image_size, params.image_size, params.channels or 3


def required_folder(params: DataParams) -> Path:
    """Return the folder that `params` names."""
    # os.path also accepts names that a file cannot have
    if not os.path.isdir(params.path):  # noqa: PTH112
        what = "is not a folder" if os.path.exists(params.path) else "does not exist"  # noqa: PTH110
        raise InputError(
            f"data.path: {params.path} {what}; put the raw data there, or run dvc pull"
        )
    return params.path


def image_files(folder: Path) -> FoundFiles:
    """Return the contents of a folder, sorted by path."""
    found = FoundFiles([], [], [])
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # os.walk does not follow them: a link could lead anywhere, or in a circle
        found.links.extend(path for name in folders if (path := Path(place, name)).is_symlink())
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(place, name)
                (found.images if decode.is_image(path) else found.others).append(path)
    return found


class ImageFiles(ABC):
    """Base of the sources whose images are files, which all get one shape."""

    def __init__(self, params: DataParams) -> None:
        self._shape = required_shape(params)
        self._root = required_folder(params)
        self._paths: list[Path] = []  # in the order of the listing, which finds them

    @abstractmethod
    def listing(self) -> Listing:
        """Return the contents of the source; the same at every call."""

    def shape(self) -> tuple[int, int, int]:
        """Return the shape in the parameters."""
        return self._shape

    def blocks(self) -> Iterator[ImageBlock]:
        """Yield all images, decoded in parallel."""
        if not self._paths:
            self.listing()
        side, _, channels = self._shape
        for found in decode.blocks(self._paths, side, channels):
            yield ImageBlock(*found)


def not_followed(links: Sequence[str]) -> str:
    """Return the end of an error that links to folders, if there are any, may explain."""
    return f"; links to folders are not followed: {few(links, 3)}" if links else ""


def outside(paths: Iterable[Path], folder: Path) -> int:
    """Return how many of `paths` are not below `folder`, going by their names."""
    # not resolved: DVC follows a link to a file that is in the folder
    start = os.path.abspath(folder).rstrip(os.sep) + os.sep  # noqa: PTH100
    return sum(not os.path.abspath(path).startswith(start) for path in paths)  # noqa: PTH100


def path_text(path: Path) -> str:
    """Return a path as text that can be written to any file, whatever bytes its name has."""
    return str(path).encode(errors="backslashreplace").decode()
