"""Files in the idx format of MNIST, gzipped or not: Fashion-MNIST, and your own."""

import contextlib
import gzip
import hashlib
import io
import math
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rolekd import files
from rolekd.data.dataset import Images, Indices
from rolekd.errors import InputError, few
from rolekd.params import DataParams
from rolekd.sources.listing import outside, required_folder
from rolekd.sources.source import (
    ImageBlock,
    Listing,
    check_class_name,
    check_native_shape,
    part_of,
)

# the folder itself, and where torchvision puts the files
_PLACES = (".", "raw", "FashionMNIST/raw", "MNIST/raw", "KMNIST/raw", "EMNIST/raw")
_NAME = re.compile(r"(?P<prefix>.*?)(?P<part>[a-z0-9]+)-images[-.]idx3-ubyte(\.gz)?")
_TEST = "t10k"  # MNIST's word
_UNSIGNED_BYTE = 8  # the idx format's number for the type
_MOST_BYTES = 2**30  # of a file, unpacked; EMNIST's largest has 547 million
_NAMES_BYTES = 2**20
_TRANSPOSED = "emnist-"  # these files are stored transposed


class _Part(NamedTuple):
    """The two files of a split.

    Attributes:
        role: train, val or test, whatever the files call it.
        images: File of the images.
        labels: File of their labels.
    """

    role: str
    images: Path
    labels: Path

    @property
    def name(self) -> str:
        """What the names of the files begin with, prefix included."""
        return _stem(self.images)


class Idx:
    """A folder with files of images and labels: `train-images-idx3-ubyte(.gz)` and so on.

    Beside train there may be t10k (or test) and val; all may have a prefix, as in EMNIST.
    """

    def __init__(self, params: DataParams) -> None:
        self._params = params
        names = params.idx.classes
        self._names_file = None if names is None else params.path / names
        self._folder, self._parts = _find(required_folder(params), params)
        self._sizes = {part.images: _sizes(part.images) for part in self._parts}
        self._shape = self._common_shape()
        check_native_shape(params, self._shape[0], self._shape[2])

    def listing(self) -> Listing:
        """Return the labels, and the splits that have files of their own."""
        parts = [self._labels(part) for part in self._parts]
        numbers = np.concatenate(parts).astype(np.int64)
        present = np.unique(numbers)
        classes = self._classes(present)
        ends = np.cumsum([len(part) for part in parts])
        places = {
            part.role: np.arange(end - len(labels), end, dtype=np.int64)
            for part, labels, end in zip(self._parts, parts, ends.tolist(), strict=True)
        }
        return Listing(
            names=[
                f"{part.name}[{i}]"
                for part, labels in zip(self._parts, parts, strict=True)
                for i in range(len(labels))
            ],
            labels=np.searchsorted(present, numbers).astype(np.int64),
            classes=classes,
            test=_or_none(places.get("test")),
            validation=_or_none(places.get("val")),
            outside=outside([self._names_file] if self._names_file else [], self._params.path),
        )

    def shape(self) -> tuple[int, int, int]:
        """Return the side of the images, twice, and 1 for gray."""
        return self._shape

    def blocks(self) -> Iterator[ImageBlock]:
        """Yield the images, a file at a time."""
        for part in self._parts:
            images = _read(part.images, 3, self._wanted(part.images))
            if part.images.name.startswith(_TRANSPOSED):
                images = images.transpose(0, 2, 1)
            yield ImageBlock(images[..., np.newaxis])

    def _labels(self, part: _Part) -> Images:
        """Return the labels of a split, as many as it has images."""
        labels = _read(part.labels, 1, self._wanted(part.labels))
        count = self._sizes[part.images][0]
        if len(labels) != count:
            raise InputError(
                f"{part.labels}: {len(labels)} labels for the {count} images of "
                f"{part.images.name}; download both again"
            )
        return labels

    def _wanted(self, path: Path) -> str | None:
        """Return the SHA-256 that a file's content must have; None: any."""
        del path
        return None

    def _classes(self, present: Indices) -> tuple[str, ...]:
        """Return the names of the labels that occur."""
        if self._names_file is None:
            return tuple(map(str, present.tolist()))
        names = _names(self._names_file)
        lacking = [str(label) for label in present.tolist() if label not in names]
        if lacking:
            raise InputError(
                f"{self._names_file}: has no name for label {few(lacking)}; add a line for each"
            )
        return tuple(names[label] for label in present.tolist())

    def _common_shape(self) -> tuple[int, int, int]:
        _, side, _ = next(iter(self._sizes.values()))
        for path, (_, height, width) in self._sizes.items():
            if height != side or width != side:
                raise InputError(
                    f"{path}: its images are {width}x{height}; all must be square, and of one size"
                )
        return side, side, 1


class FashionMnist(Idx):
    """A folder with the four files, as Debian's package and torchvision have them."""

    _CLASSES = (
        "T-shirt or top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip
    # of the unpacked files; packages pack them anew
    _CONTENTS: Mapping[str, str] = {
        "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    }

    def _wanted(self, path: Path) -> str | None:
        return self._CONTENTS.get("-".join(re.split(r"[-.]", path.name)[:2]), "")

    def _classes(self, present: Indices) -> tuple[str, ...]:
        del present
        return self._CLASSES


def _or_none(indices: Indices | None) -> Indices | None:
    return indices if indices is not None and len(indices) else None


def _find(path: Path, params: DataParams) -> tuple[Path, list[_Part]]:
    """Return the folder with the files, and the files of each split, train first."""
    for place in _PLACES:
        folder = path / place
        found = sorted(p for p in folder.glob("*-images*") if _NAME.fullmatch(p.name))
        if found:
            return folder, _parts(folder, found, params)
    remedy = "put the files there, as MNIST names them"
    if params.source == "fashion-mnist":
        remedy = "rolekd download fashion-mnist fetches them"
    raise InputError(
        f"data.path: {path} holds no train-images-idx3-ubyte(.gz) and its like; {remedy}"
    )


def _parts(folder: Path, found: list[Path], params: DataParams) -> list[_Part]:
    sets: dict[str, dict[str, list[Path]]] = {}
    for path in found:
        match = _NAME.fullmatch(path.name)
        assert match is not None
        role = part_of(match["part"], {_TEST: "test"})
        if role is not None:
            sets.setdefault(match["prefix"], {}).setdefault(role, []).append(path)
    wanted = params.idx.prefix
    if wanted is None and len(sets) == 1:
        wanted = next(iter(sets))
    if wanted is None or wanted not in sets:
        names = few(sorted(repr(name) for name in sets)) or "none"
        raise InputError(
            f"data.idx.prefix: {folder} holds files with the prefixes {names}; name one of them"
        )
    if "train" not in sets[wanted]:
        raise InputError(
            f"{folder}: no {wanted}train-images-idx3-ubyte(.gz), only "
            f"{few([p.name for p in found])}; put it there"
        )
    parts = [
        # a plain file goes before a packed one of the same name
        _Part(role, paths[0], _labels_beside(paths[0]))
        for role, paths in sorted(sets[wanted].items(), key=lambda item: item[0] != "train")
    ]
    for part in parts:
        for path in sets[wanted][part.role]:
            if _stem(path) != part.name:
                raise InputError(
                    f"{folder}: {part.images.name} and {path.name} are both {part.role}; "
                    "remove one of them"
                )
    return parts


def _stem(images: Path) -> str:
    """Return what the names of the two files of a split begin with, prefix included."""
    return images.name.partition("-images")[0]


def _labels_beside(images: Path) -> Path:
    """Return the file of the labels of a file of images, whether packed alike or not."""
    plain = images.name.removesuffix(".gz").replace("-images", "-labels").replace("idx3", "idx1")
    for name in (plain, f"{plain}.gz", plain.replace(".idx1", "-idx1")):
        if (images.parent / name).exists():
            return images.parent / name
    return images.parent / (f"{plain}.gz" if images.suffix == ".gz" else plain)


def _names(path: Path) -> dict[int, str]:
    """Return label -> name of its class.

    Names stand on a line each, in the order of the labels from 0; or, as in EMNIST's mappings, a
    line has the label and the codes of the characters that it stands for.
    """
    try:
        text = files.read_bytes(path, _NAMES_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); name the right file in data.idx.classes"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path}: cannot be read ({error}); write a class's name on each line, as UTF-8"
        ) from error
    # a blank line between others is a label without a name, and would shift those after it
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if lines and all(re.fullmatch(r"\d{1,3}( \d{1,6})+", line) for line in lines):
        coded = [list(map(int, line.split())) for line in lines]
        names = {label: "".join(map(chr, codes)) for label, *codes in coded}
    else:
        names = dict(enumerate(lines))
    names = {n: check_class_name(name, f"{path}, label {n}") for n, name in names.items()}
    if len(set(names.values())) < len(names):
        raise InputError(f"{path}: two labels have the same name; give each its own")
    return names


def _sizes(path: Path) -> tuple[int, int, int]:
    """Return number, height and width of the images of a file, as its header says."""
    with _opened(path) as content:
        count, height, width = _header(content, 3, path)
    if not count * height * width:
        raise InputError(f"{path}: holds no images; download it again, or remove it")
    return count, height, width


def _read(path: Path, dimensions: int, sha256: str | None) -> Images:
    """Read an idx file of unsigned bytes.

    Two zero bytes, the type, the number of dimensions, each size as a big-endian 32-bit integer,
    then the values.
    """
    with _opened(path) as content:
        return _parse(content, dimensions, path, sha256)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open an idx file, unpacked on the fly; errors in the block name the file."""
    try:
        with (
            files.open_regular(path, _MOST_BYTES) as file,
            gzip.open(file) if path.suffix == ".gz" else file as content,
        ):
            yield content
    except (OSError, EOFError, zlib.error) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{path}: cannot be read ({reason}); download it again") from error


def _header(file: io.BufferedIOBase, dimensions: int, path: Path) -> tuple[int, ...]:
    magic = struct.unpack(">HBB", _exactly(file, 4, path))
    if magic != (0, _UNSIGNED_BYTE, dimensions):
        raise InputError(
            f"{path}: is not an idx file of {dimensions} dimensions; download it again"
        )
    sizes = struct.unpack(f">{dimensions}I", _exactly(file, 4 * dimensions, path))
    count = math.prod(sizes)
    if count > _MOST_BYTES:
        raise InputError(f"{path}: says that it holds {count:,} values; download it again")
    return sizes


def _exactly(file: io.BufferedIOBase, count: int, path: Path) -> bytes:
    """Return the next `count` bytes of a header."""
    content = file.read(count)
    if len(content) < count:
        what = "ends within its header" if content or file.tell() else "is empty"
        raise InputError(f"{path}: {what}; download it again")
    return content


def _parse(file: io.BufferedIOBase, dimensions: int, path: Path, sha256: str | None) -> Images:
    sizes = _header(file, dimensions, path)
    count = math.prod(sizes)
    # one more than there should be: a longer file is reported, and never read whole
    content = file.read(count + 1)
    if len(content) != count:
        more = "more" if len(content) > count else "less"
        raise InputError(f"{path}: holds {more} than its header says; download it again")
    if sha256 is not None:
        header = struct.pack(f">HBB{dimensions}I", 0, _UNSIGNED_BYTE, dimensions, *sizes)
        found = hashlib.sha256(header + content).hexdigest()
        if found != sha256:
            raise InputError(
                f"{path}: is not Fashion-MNIST's (SHA-256 {found[:12]}... of its content); "
                "data.source: idx reads other files of this format"
            )
    return np.frombuffer(content, np.uint8).reshape(sizes)


SOURCES = {"fashion-mnist": FashionMnist, "idx": Idx}
