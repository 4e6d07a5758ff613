"""What the sources of single image files share: parameters, and decoding in parallel."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rolekd.errors import InputError
from rolekd.sources import decode
from rolekd.sources.source import Block, Listing

if TYPE_CHECKING:
    from rolekd.params import DataParams


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


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return a folder's images, at any depth, and its other files; hidden ones are neither."""
    images: list[Path] = []
    others: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(place, name)
                (images if path.suffix.lower() in decode.SUFFIXES else others).append(path)
    return images, others


class ImageFiles(ABC):
    """Base of the sources whose images are files below `data.path`, all made one shape."""

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

    def blocks(self) -> Iterator[Block]:
        """Yield all images, decoded in parallel."""
        if not self._paths:
            self.listing()
        side, _, channels = self._shape
        for images, faults in decode.blocks(self._paths, side, channels):
            yield Block(images, faults)


def shown(path: Path) -> str:
    """Return a path as text that any file can hold, whatever bytes its name has."""
    return str(path).encode(errors="backslashreplace").decode()
