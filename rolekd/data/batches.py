"""Batches: a split's images in seeded order, augmented and normalised."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from rolekd import seeds
from rolekd.data.dataset import Dataset, Images

# images of one batch [B, H, W, C] and the seed of their draws -> augmented images
Augment = Callable[[Images, int], Images]


class Normalize:
    """uint8 images [N, H, W, C] -> float32 [N, C, H, W], per channel (x / 255 - mean) / std."""

    def __init__(self, dataset: Dataset, device: torch.device | str = "cpu") -> None:
        std = torch.tensor(dataset.std, dtype=torch.float64)
        mean = torch.tensor(dataset.mean, dtype=torch.float64)
        self.device = torch.device(device)
        self._scale = (1 / (255 * std)).float().view(1, -1, 1, 1).to(self.device)
        self._shift = (-mean / std).float().view(1, -1, 1, 1).to(self.device)

    def __call__(self, images: Images) -> Tensor:
        """Return the network's input for `images`."""
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        return torch.addcmul(self._shift, pixels.permute(0, 3, 1, 2).float(), self._scale)


class Batches:
    """One split of a data set, an epoch at a time.

    The batches of an epoch differ in size by one at most: every image is seen, and none is
    left alone in a last batch, where BatchNorm would have no statistics.
    """

    def __init__(
        self, dataset: Dataset, split: str, batch_size: int, seed: int, normalize: Normalize
    ) -> None:
        self._images, self._labels = dataset.split(split)
        self._count = -(-len(self._labels) // batch_size)
        self._seed = seed
        self._normalize = normalize

    @property
    def images_per_epoch(self) -> int:
        """Number of images in the split."""
        return len(self._labels)

    def epoch(self, epoch: int, augment: Augment) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images float32 [B, C, H, W], labels int64 [B]) of one epoch.

        Order and draws depend on (seed, epoch, batch) only.
        """
        generator = np.random.Generator(np.random.Philox(seeds.derive(self._seed, "order", epoch)))
        order = generator.permutation(len(self._labels))
        for number, indices in enumerate(np.array_split(order, self._count)):
            seed = seeds.derive(self._seed, "augment", epoch, number)
            images = self._normalize(augment(self._images[indices], seed))
            yield images, torch.from_numpy(self._labels[indices]).to(self._normalize.device)
