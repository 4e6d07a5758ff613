"""A prepared data set: images, labels, splits and statistics in one folder of plain arrays."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rolekd import files
from rolekd.errors import InputError

SPLITS = ("search_train", "search_val", "train", "test")

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
        splits: Name -> int64 indices. search_train and search_val are disjoint parts of train;
            test is disjoint from all of them and decides nothing.
        mean: Mean of the train split's pixels, per channel, in 0..1.
        std: Standard deviation of the train split's pixels, per channel, in 0..1.
        digest: SHA-256 of all of the above.
    """

    name: str
    images: Images
    labels: Labels
    classes: tuple[str, ...]
    splits: dict[str, Indices]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str

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

    def split(self, name: str) -> tuple[Images, Labels]:
        """Return images [n, H, W, C] and labels [n] of one split."""
        indices = self.splits[name]
        return self.images[indices], self.labels[indices]


def restrict(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    """Return a data set that holds only the images of the named splits.

    What a search is given: an image that is not there cannot decide anything. Statistics and
    the digest stay those of the whole.
    """
    kept = np.unique(np.concatenate([dataset.splits[name] for name in names]))
    splits = {name: np.searchsorted(kept, dataset.splits[name]) for name in names}
    return replace(dataset, images=dataset.images[kept], labels=dataset.labels[kept], splits=splits)


def assemble(
    name: str,
    images: Images,
    labels: Labels,
    classes: tuple[str, ...],
    splits: dict[str, Indices],
) -> Dataset:
    """Compute statistics and digest of a data set whose splits are decided."""
    train = images[splits["train"]]
    # float64 over the histogram: exact, and without a float copy of the images
    values = np.arange(256) / 255
    counts = np.stack([np.bincount(c.ravel(), minlength=256) for c in np.moveaxis(train, 3, 0)])
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    std = np.sqrt(np.maximum(weights @ values**2 - mean**2, 1e-8))
    return Dataset(
        name=name,
        images=images,
        labels=labels,
        classes=classes,
        splits=splits,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        digest=_digest(name, images, labels, classes, splits),
    )


def save(dataset: Dataset, folder: Path) -> None:
    """Write a data set as a folder of .npy and .json files, complete or not at all."""
    with files.replacing_folder(folder) as temporary:
        np.save(temporary / "images.npy", dataset.images)
        np.save(temporary / "labels.npy", dataset.labels)
        for name, indices in dataset.splits.items():
            np.save(temporary / f"{name}.npy", indices)
        files.write_json(
            temporary / "dataset.json",
            {
                "name": dataset.name,
                "classes": list(dataset.classes),
                "mean": list(dataset.mean),
                "std": list(dataset.std),
                "splits": list(dataset.splits),
                "digest": dataset.digest,
            },
        )


def load(folder: Path | str) -> Dataset:
    """Read what `save` wrote; the images stay on disk, memory-mapped, until they are used."""
    folder = Path(folder)
    about = files.read_json(folder / "dataset.json")
    return Dataset(
        name=about["name"],
        images=_array(folder / "images.npy", mapped=True),
        labels=_array(folder / "labels.npy"),
        classes=tuple(about["classes"]),
        splits={name: _array(folder / f"{name}.npy") for name in about["splits"]},
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        digest=about["digest"],
    )


def _array(path: Path, mapped: bool = False) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(
            path, mmap_mode="r" if mapped else None, allow_pickle=False
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); run the prepare stage again"
        ) from error
    return array


def _digest(
    name: str,
    images: Images,
    labels: Labels,
    classes: tuple[str, ...],
    splits: dict[str, Indices],
) -> str:
    hasher = hashlib.sha256(repr((name, images.shape, classes)).encode())
    hasher.update(np.ascontiguousarray(images).data)
    hasher.update(np.ascontiguousarray(labels).data)
    for split in SPLITS:
        hasher.update(split.encode())
        hasher.update(np.ascontiguousarray(splits[split]).data)
    return hasher.hexdigest()
