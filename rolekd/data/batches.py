"""Batches: a split's images in seeded order, augmented and normalised."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rolekd import files, seeds
from rolekd.data.dataset import Dataset, Images, Indices

# images of one batch [B, H, W, C], the seed of their draws, and the images' places in the split
# -> augmented images, of the type of the images: an array, or a tensor on the device
Augment = Callable[[Any, int, Indices], Any]
# bytes of a split that are held in memory, and the share of a GPU's free memory
_RESIDENT = 2**30
_GPU_SHARE = 0.25


class Normalize:
    """uint8 images [N, H, W, C] -> float32 [N, C, H, W], per channel (x / 255 - mean) / std."""

    def __init__(self, dataset: Dataset, device: torch.device | str = "cpu") -> None:
        std = torch.tensor(dataset.std, dtype=torch.float64)
        mean = torch.tensor(dataset.mean, dtype=torch.float64)
        self.device = torch.device(device)
        self._scale = (1 / (255 * std)).float().view(1, -1, 1, 1).to(self.device)
        self._shift = (-mean / std).float().view(1, -1, 1, 1).to(self.device)

    def __call__(self, images: Images | Tensor) -> Tensor:
        """Return the network's input for `images`."""
        pixels = self.on_device(images)
        return torch.addcmul(self._shift, pixels.permute(0, 3, 1, 2).float(), self._scale)

    def on_device(self, values: npt.NDArray[Any] | Tensor) -> Tensor:
        """Return an array as a tensor on the device; a tensor stays what it is."""
        if isinstance(values, Tensor):
            return values
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


class Batches:
    """One split of a data set, an epoch at a time.

    The batches of an epoch differ in size by one at most: every image is seen, and none is
    left alone in a last batch, where BatchNorm would have no statistics. Where the data set
    asks for balance, an epoch has as many images, the same number of each class, and it takes
    several epochs until every image of a large class was seen.

    Images are augmented where the network runs. They stay on its device, or in memory, if they
    fit, else on the disk.

    Attributes:
        seed: Of order and augmentation.
        per_epoch: Number of batches of an epoch.
        fingerprint: Digest of all else that decides the batches before augmentation.
    """

    def __init__(
        self, dataset: Dataset, split: str, batch_size: int, seed: int, normalize: Normalize
    ) -> None:
        self._indices = dataset.splits[split]
        self._labels = dataset.labels[self._indices]
        self._normalize = normalize
        size = len(self._indices) * dataset.images[0].size
        # what does not fit stays on the disk: the system keeps of it in memory what it can
        held = dataset.images[self._indices] if size <= _room(normalize.device) else None
        self._images = held if held is None else self._placed(held)
        self._mapped = dataset.images
        self.per_epoch = -(-len(self._labels) // batch_size)
        self.seed = seed
        self._order = self._balanced if dataset.balance else self._shuffled
        self.fingerprint = files.digest([dataset.digest, split, batch_size, dataset.balance])

    @property
    def images_per_epoch(self) -> int:
        """Number of images in the split."""
        return len(self._labels)

    def epoch(self, epoch: int, augment: Augment) -> Iterator[tuple[Tensor, Tensor, Indices]]:
        """Yield the batches of one epoch; order and draws depend on (seed, epoch, batch) only.

        Yields:
            Images float32 [B, C, H, W] and labels int64 [B] on the device, and the images' places
            in the split, int64 [B] on the host.
        """
        for number, places in enumerate(np.array_split(self._order(epoch), self.per_epoch)):
            seed = seeds.derive(self.seed, "augment", epoch, number)
            images = self._normalize(augment(self._take(places), seed, places))
            yield images, self._normalize.on_device(self._labels[places]), places

    def _take(self, places: Indices) -> Images | Tensor:
        if isinstance(self._images, Tensor):
            return self._images[self._normalize.on_device(places)]
        if self._images is not None:
            return self._images[places]
        return self._placed(np.asarray(self._mapped[self._indices[places]]))

    def _placed(self, images: Images) -> Images | Tensor:
        """Put images where they are augmented: the CPU's kernels take arrays."""
        return images if self._normalize.device.type == "cpu" else self._normalize.on_device(images)

    def _shuffled(self, epoch: int) -> Indices:
        return self._generator("order", epoch).permutation(len(self._labels))

    def _balanced(self, epoch: int) -> Indices:
        """Return places in the split, the same number of each class, give or take one.

        Each class is dealt out pass after pass, each pass in an order of its own; an epoch
        continues where the one before it ended.
        """
        classes = np.unique(self._labels).tolist()
        images = len(self._labels)

        def dealt_before(epoch: int, number: int) -> int:
            # summed over the classes this is epoch * images: Hermite's identity
            return (epoch * images + number) // len(classes)

        places = [
            self._deal(label, range(dealt_before(epoch, n), dealt_before(epoch + 1, n)))
            for n, label in enumerate(classes)
        ]
        return self._generator("order", epoch).permutation(np.concatenate(places))

    def _deal(self, label: int, positions: range) -> Indices:
        members = np.flatnonzero(self._labels == label)
        first, last = positions.start // len(members), (positions.stop - 1) // len(members)
        passes = [
            self._generator("pass", label, number).permutation(members)
            for number in range(first, last + 1)
        ]
        begin = positions.start - first * len(members)
        return np.concatenate(passes)[begin : begin + len(positions)]

    def _generator(self, purpose: str, *coordinates: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(seeds.derive(self.seed, purpose, *coordinates)))


def _room(device: torch.device) -> int:
    """Return how many bytes of images a device is to hold."""
    if device.type == "cuda":
        return int(_GPU_SHARE * torch.cuda.mem_get_info(device)[0])
    return _RESIDENT
