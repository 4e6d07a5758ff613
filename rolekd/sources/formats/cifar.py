"""CIFAR-10 and CIFAR-100, from the official binary version or the pickled one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rolekd import files
from rolekd.data.dataset import Images, Labels
from rolekd.errors import InputError
from rolekd.params import DataParams
from rolekd.sources import pickles
from rolekd.sources.listing import required_folder
from rolekd.sources.source import ImageBlock, Listing, check_native_shape

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE


@dataclass(frozen=True)
class _Layout:
    """One of the two official layouts.

    Attributes:
        folder: Name of the archive's folder.
        training: Files of the training split.
        test: File of the test split.
        names: File with the names of the classes.
        label: Binary: place of the label byte, counted from the pixels. Pickled: its key.
        names_key: Pickled: key of the names.
    """

    folder: str
    training: tuple[str, ...]
    test: str
    names: str
    label: str | int
    names_key: str = ""


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_BINARY_10 = tuple(f"{name}.bin" for name in _BATCHES)
_LAYOUTS = {
    "cifar10": (
        _Layout("cifar-10-batches-bin", _BINARY_10, "test_batch.bin", "batches.meta.txt", 1),
        _Layout(
            "cifar-10-batches-py", _BATCHES, "test_batch", "batches.meta", "labels", "label_names"
        ),
    ),
    "cifar100": (
        _Layout("cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", 2),
        _Layout("cifar-100-python", ("train",), "test", "meta", "fine_labels", "fine_label_names"),
    ),
}


class Cifar:
    """The folder of either layout, or a folder that contains it."""

    def __init__(self, params: DataParams) -> None:
        check_native_shape(params, _SIDE, 3)
        self._folder, self._layout = _find(params.source, required_folder(params))
        self._parts: list[tuple[Path, Images, Labels]] = []

    def listing(self) -> Listing:
        """Return the labels, CIFAR-100's fine ones, and the official test split."""
        parts = self._read()
        labels = np.concatenate([labels for _, _, labels in parts])
        tested = len(parts[-1][2])
        return Listing(
            names=[f"{path}[{i}]" for path, _, labels in parts for i in range(len(labels))],
            labels=labels,
            classes=self._classes(),
            test=np.arange(len(labels) - tested, len(labels), dtype=np.int64),
        )

    def shape(self) -> tuple[int, int, int]:
        """Return (32, 32, 3)."""
        return _SIDE, _SIDE, 3

    def blocks(self) -> Iterator[ImageBlock]:
        """Yield the images, a file at a time."""
        for _, images, _ in self._read():
            yield ImageBlock(images)

    def _read(self) -> list[tuple[Path, Images, Labels]]:
        if not self._parts:
            layout = self._layout
            for name in (*layout.training, layout.test):
                self._parts.append((self._folder / name, *_read(self._folder / name, layout.label)))
        return self._parts

    def _classes(self) -> tuple[str, ...]:
        path = self._folder / self._layout.names
        if self._layout.names_key:
            return tuple(pickles.load(path).get(self._layout.names_key, ()))
        try:
            return tuple(files.read_bytes(path, pickles.MOST_BYTES).decode().split())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error}); download it again") from error


def _find(source: str, path: Path) -> tuple[Path, _Layout]:
    for layout in _LAYOUTS[source]:
        for folder in (path, path / layout.folder):
            if (folder / layout.test).is_file():
                return folder, layout
    expected = " or ".join(layout.folder for layout in _LAYOUTS[source])
    raise InputError(f"data.path: {path} holds no {expected}; rolekd download {source} fetches it")


def _read(path: Path, label: str | int) -> tuple[Images, Labels]:
    return _binary(path, label) if isinstance(label, int) else _pickled(path, label)


def _binary(path: Path, labels: int) -> tuple[Images, Labels]:
    """Read records of `labels` bytes and 3,072 pixels: red, green and blue planes."""
    try:
        content = np.frombuffer(files.read_bytes(path, pickles.MOST_BYTES), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); download it again") from error
    if len(content) == 0 or len(content) % (labels + _PIXELS):
        raise InputError(
            f"{path}: {len(content)} bytes are not a whole number of records; download it again"
        )
    records = content.reshape(-1, labels + _PIXELS)
    return _images(records[:, labels:]), records[:, labels - 1].astype(np.int64)


def _pickled(path: Path, key: str) -> tuple[Images, Labels]:
    content = pickles.load(path)
    fault = InputError(
        f"{path}: holds no data with {key}, a label for each image; download it again"
    )
    try:
        pixels, labels = np.asarray(content.get("data")), np.asarray(content.get(key), np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise fault from error
    if pixels.dtype != np.uint8 or labels.ndim != 1 or pixels.shape != (len(labels), _PIXELS):
        raise fault
    return _images(pixels), labels


def _images(planes: Images) -> Images:
    return planes.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)


SOURCES = {"cifar10": Cifar, "cifar100": Cifar}
