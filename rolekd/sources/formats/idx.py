"""Fashion-MNIST in the idx format of MNIST, with gzip or without."""

import gzip
import io
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rolekd import files
from rolekd.data.dataset import Images
from rolekd.errors import InputError
from rolekd.sources.files import required_folder
from rolekd.sources.source import Block, Listing, check_native_size

if TYPE_CHECKING:
    from rolekd.params import DataParams

_SIDE = 28
_CLASSES = (
    "T-shirt or top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# the folder itself, and where torchvision puts the files
_PLACES = (".", "raw", "FashionMNIST/raw")
_PARTS = ("train", "t10k")
_UNSIGNED_BYTE = 8  # the idx format's number for the type
_MOST_BYTES = 2**27  # of a file, unpacked; the official ones have 47 million


class FashionMnist:
    """A folder with the four files, as Debian's package and torchvision have them."""

    def __init__(self, params: "DataParams") -> None:
        check_native_size(params, _SIDE)
        self._folder = _find(required_folder(params))

    def listing(self) -> Listing:
        """Return the labels and the official test split."""
        parts = [_read(self._folder, f"{part}-labels-idx1-ubyte", 1) for part in _PARTS]
        labels = np.concatenate(parts).astype(np.int64)
        return Listing(
            names=[
                f"{p}[{i}]" for p, part in zip(_PARTS, parts, strict=True) for i in range(len(part))
            ],
            labels=labels,
            classes=_CLASSES,
            test=np.arange(len(parts[0]), len(labels), dtype=np.int64),
        )

    def shape(self) -> tuple[int, int, int]:
        """Return (28, 28, 1)."""
        return _SIDE, _SIDE, 1

    def blocks(self) -> Iterator[Block]:
        """Yield the images, a file at a time."""
        for part in _PARTS:
            name = f"{part}-images-idx3-ubyte"
            images = _read(self._folder, name, 3)
            if images.shape[1:] != (_SIDE, _SIDE):
                raise InputError(f"{self._folder / name}: images are not 28x28; fetch it again")
            yield Block(images[..., np.newaxis])


def _find(path: Path) -> Path:
    for place in _PLACES:
        if any((path / place).glob("t10k-images-idx3-ubyte*")):
            return path / place
    raise InputError(
        f"data.path: {path} holds no t10k-images-idx3-ubyte(.gz) and its like; "
        "rolekd download fashion-mnist fetches them"
    )


def _read(folder: Path, name: str, dimensions: int) -> Images:
    """Read an idx file of unsigned bytes.

    Two zero bytes, the type, the number of dimensions, each size as a big-endian 32-bit integer,
    then the values.
    """
    plain, packed = folder / name, folder / f"{name}.gz"
    path = plain if plain.is_file() else packed
    try:
        with (
            files.open_regular(path, _MOST_BYTES) as file,
            file if path is plain else gzip.open(file) as content,
        ):
            return _parse(content, dimensions, path)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); fetch it again") from error


def _parse(file: io.BufferedIOBase, dimensions: int, path: Path) -> Images:
    magic = struct.unpack(">HBB", file.read(4))
    if magic != (0, _UNSIGNED_BYTE, dimensions):
        raise InputError(f"{path}: is no idx file of {dimensions} dimensions; fetch it again")
    sizes = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
    count = math.prod(sizes)
    if count > _MOST_BYTES:
        raise InputError(f"{path}: says that it holds {count:,} values; fetch it again")
    # one more than there should be: what is too long is told, and never read whole
    content = file.read(count + 1)
    if len(content) != count:
        more = "more" if len(content) > count else "less"
        raise InputError(f"{path}: holds {more} than its header says; fetch it again")
    return np.frombuffer(content, np.uint8).reshape(sizes)


SOURCES = {"fashion-mnist": FashionMnist}
