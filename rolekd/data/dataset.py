"""A prepared data set: images, labels, splits and statistics in one folder of plain arrays."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rolekd import files
from rolekd.data.content import PixelSums
from rolekd.data.pixels import PixelFile, images_at_once
from rolekd.errors import InputError

SPLITS = ("search_train", "search_val", "train", "test")
IMAGES = "images.npy"
_KEYS = {"name", "classes", "splits", "mean", "std", "digest", "balance", "own_validation"}
# images that are in memory at once while a data set is written
_ROWS = 1024

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Images with labels, split.

    Attributes:
        name: The source's name, which also names experiments and registered models.
        images: uint8 [N, H, W, C], C 1 or 3.
        labels: int64 [N], indices into `classes`.
        classes: Names of the classes.
        splits: Name -> int64 indices. search_train and search_val are disjoint parts of train,
            but for validation images of your own, which are never trained on: then
            search_train is all of train. test is disjoint from all of them and decides nothing.
        mean: Mean of the train split's pixels, per channel, in 0..1.
        std: Standard deviation of the train split's pixels, per channel, in 0..1.
        digest: SHA-256 of all of the above.
        balance: Batches show each class equally often, whatever its share of the images.
        own_validation: search_val are validation images of your own, the same in every split
            that is drawn anew.
        folder: Where it was read from; None: nowhere.
    """

    name: str
    images: Images
    labels: Labels
    classes: tuple[str, ...]
    splits: dict[str, Indices]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    balance: bool = False
    own_validation: bool = False
    folder: Path | None = None

    @property
    def fill(self) -> tuple[int, ...]:
        """The mean colour as uint8 values, per channel: what augmentation fills with."""
        return tuple(round(255 * value) for value in self.mean)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[1], self.images.shape[2]

    @property
    def channels(self) -> int:
        """1 for grayscale, 3 for RGB."""
        return int(self.images.shape[3])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return (*self.image_size, self.channels)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images in each split."""
        return {name: len(indices) for name, indices in self.splits.items()}

    def beside(self, *parts: str) -> Path:
        """Return the path of a file that was laid beside the data set for those who train on it."""
        if self.folder is None:
            raise InputError(f"data {self.name}: has no folder, so {'/'.join(parts)} is nowhere")
        return self.folder.parent.joinpath(*parts)

    def split(self, name: str) -> tuple[Images, Labels]:
        """Return images [n, H, W, C] and labels [n] of one split."""
        indices = self.splits[name]
        return self.images[indices], self.labels[indices]


def assemble(
    name: str,
    images: Images,
    labels: Labels,
    classes: tuple[str, ...],
    splits: dict[str, Indices],
    content: PixelSums | None = None,
) -> Dataset:
    """Compute statistics and digest of a data set whose splits are decided.

    Args:
        name: See `Dataset`, as for what follows.
        images: uint8 [N, H, W, C].
        labels: int64 [N].
        classes: Names.
        splits: Name -> indices.
        content: Of the images, where it was computed as they were read.
    """
    content = content or PixelSums.of(images)
    mean, std = content.statistics(splits["train"])
    return Dataset(
        name=name,
        images=images,
        labels=labels,
        classes=classes,
        splits=splits,
        mean=mean,
        std=std,
        digest=_digest(name, images.shape, content, labels, classes, splits),
    )


def save(dataset: Dataset, folder: Path) -> None:
    """Write a data set as a folder of .npy and .json files, completely or not at all."""
    _save(dataset, np.arange(len(dataset.images)), folder)


def save_splits(dataset: Dataset, names: tuple[str, ...], folder: Path) -> None:
    """Write as `save` does, but only the named splits and their images.

    What a search is given: an image that is not there cannot decide anything. Statistics and
    the digest stay those of the whole.
    """
    kept = np.unique(np.concatenate([dataset.splits[name] for name in names]))
    splits = {name: np.searchsorted(kept, dataset.splits[name]) for name in names}
    _save(replace(dataset, labels=dataset.labels[kept], splits=splits), kept, folder)


def _save(dataset: Dataset, kept: Indices, folder: Path) -> None:
    """Write a data set with the images at `kept`; memory holds a few of them at once."""
    with files.replacing_folder(folder) as temporary:
        with PixelFile(temporary / IMAGES, dataset.images.shape[1:]) as file:
            step = images_at_once(dataset.images.shape[1:], _ROWS)
            for start in range(0, len(kept), step):
                file.append(dataset.images[kept[start : start + step]])
        save_about(dataset, temporary)


def save_about(dataset: Dataset, folder: Path) -> None:
    """Write everything but the images of a data set into `folder`."""
    np.save(folder / "labels.npy", dataset.labels)
    for name, indices in dataset.splits.items():
        np.save(folder / f"{name}.npy", indices)
    files.write_json(
        folder / "dataset.json",
        {
            "name": dataset.name,
            "classes": list(dataset.classes),
            "mean": list(dataset.mean),
            "std": list(dataset.std),
            "splits": list(dataset.splits),
            "balance": dataset.balance,
            "own_validation": dataset.own_validation,
            "digest": dataset.digest,
        },
    )


def load(folder: Path | str) -> Dataset:
    """Read what `save` wrote; the images stay on disk, memory-mapped, until they are used."""
    folder = Path(folder)
    about = files.read_json(folder / "dataset.json")
    if missing := _KEYS - set(about):
        raise InputError(
            f"{folder / 'dataset.json'}: has no {', '.join(sorted(missing))}; "
            "run the prepare stage again"
        )
    return Dataset(
        name=about["name"],
        images=_array(folder / IMAGES, mapped=True),
        labels=_array(folder / "labels.npy"),
        classes=tuple(about["classes"]),
        splits={name: _array(folder / f"{name}.npy") for name in about["splits"]},
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        digest=about["digest"],
        balance=about["balance"],
        own_validation=about["own_validation"],
        folder=folder,
    )


def _array(path: Path, mapped: bool = False) -> npt.NDArray[Any]:
    try:
        with files.open_regular(path):
            # mapped, an array that is larger than its file is refused before memory is taken
            array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array if mapped else np.array(array)
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); run the prepare stage again"
        ) from error


def _digest(
    name: str,
    shape: tuple[int, ...],
    content: PixelSums,
    labels: Labels,
    classes: tuple[str, ...],
    splits: dict[str, Indices],
) -> str:
    hasher = hashlib.sha256(repr((name, shape, classes)).encode())
    hasher.update(content.digests())
    hasher.update(np.ascontiguousarray(labels).data)
    for split in SPLITS:
        hasher.update(split.encode())
        hasher.update(np.ascontiguousarray(splits[split]).data)
    return hasher.hexdigest()
