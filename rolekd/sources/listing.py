"""What the sources of single image files share: parameters, and decoding in parallel."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rolekd.errors import InputError
from rolekd.sources import decode
from rolekd.sources.source import ImageBlock, Listing

if TYPE_CHECKING:
    from rolekd.params import DataParams


class FoundFiles(NamedTuple):
    """What lies in a folder, at any depth; what is hidden is not told.

    Attributes:
        images: Files with the suffix of an image.
        others: All other files.
        links: To folders; they are not followed.
    """

    images: list[Path]
    others: list[Path]
    links: list[Path]


def required_shape(params: "DataParams") -> tuple[int, int, int]:
    """Return the shape that `params` asks for; image files have none in common."""
    if params.image_size is None:
        raise InputError(
            f"data.image_size: {params.source} needs the side that images are resized to; "
            "set it, 32 for instance"
        )
    return params.image_size, params.image_size, params.channels or 3


def required_folder(params: "DataParams") -> Path:
    """Return the folder that `params` names."""
    # os.path answers for names that no file can have, too
    if not os.path.isdir(params.path):  # noqa: PTH112
        what = "is no folder" if os.path.exists(params.path) else "does not exist"  # noqa: PTH110
        raise InputError(
            f"data.path: {params.path} {what}; put the raw data there, or bring it with dvc pull"
        )
    return params.path


def image_files(folder: Path) -> FoundFiles:
    """Return what lies in a folder, sorted by its path."""
    found = FoundFiles([], [], [])
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # os.walk does not go into them: a link could lead anywhere, or in a circle
        found.links.extend(path for name in folders if (path := Path(place, name)).is_symlink())
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(place, name)
                (found.images if decode.is_image(path) else found.others).append(path)
    return found


class ImageFiles(ABC):
    """Base of the sources whose images are files, all made one shape."""

    def __init__(self, params: "DataParams") -> None:
        self._shape = required_shape(params)
        self._root = required_folder(params)
        self._paths: list[Path] = []  # in the order of the listing, which finds them

    @abstractmethod
    def listing(self) -> Listing:
        """Return what there is; the same at every call."""

    def shape(self) -> tuple[int, int, int]:
        """Return the shape that the parameters ask for."""
        return self._shape

    def blocks(self) -> Iterator[ImageBlock]:
        """Yield all images, decoded in parallel."""
        if not self._paths:
            self.listing()
        side, _, channels = self._shape
        for found in decode.blocks(self._paths, side, channels):
            yield ImageBlock(*found)


def path_text(path: Path) -> str:
    """Return a path as text that any file can hold, whatever bytes its name has."""
    return str(path).encode(errors="backslashreplace").decode()
