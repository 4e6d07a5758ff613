"""How sure the network in training is of each image, which decides how strongly to augment it.

An image's strength is 1 - H(p) / log(classes), where H is the entropy of p, the network's softmax
output for it in training: 0 where all classes seem equally likely, 1 where one is certain. Images
that are learned are augmented strongly, the others hardly; no search is needed, and every network
has the strengths that suit it.

Source: Yang et al., EntAugment: Entropy-Driven Adaptive Data Augmentation Framework for Image
Classification, 2024 (arXiv:2409.06290). The authors' code gives an image one operation, after ten
epochs of another augmentation; here it gets two, those of RandAugment, from the first epoch on.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rolekd import parallel
from rolekd.data.dataset import Indices


@torch.no_grad()
def confidence(logits: Tensor) -> Tensor:
    """Return how sure logits float32 [B, K] are: float32 [B] in 0..1; of one class: 1."""
    entropy = torch.special.entr(logits.softmax(1)).sum(1)
    # by rounding, an entropy can exceed that of equally likely classes
    sure: Tensor = 1 - entropy / math.log(max(2, logits.shape[1]))
    return sure.clamp(0, 1)


class Strengths(nn.Module):
    """The strength of every image of a split: a part of a training's state.

    It changes at the end of an epoch, so an epoch does not need its own outputs and never waits for
    a GPU. If an epoch shows an image several times (`data.balance`), the mean of its confidences
    counts; if it does not show it, the image keeps its strength.

    Args:
        images: Number of images of the split.

    Attributes:
        values: float32 [images] in 0..1, on the CPU; 0 before an image's first epoch.
    """

    values: Tensor

    def __init__(self, images: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(images))

    def learn(self, shown: Sequence[tuple[Indices, Tensor]]) -> None:
        """Take in an epoch; of several processes all take what the first has.

        Args:
            shown: Of each batch the images' places in the split, int64 [B], and their confidences,
                float32 [B] on any device.
        """
        places = np.concatenate([places for places, _ in shown])
        found = parallel.of_first(torch.cat([confidences for _, confidences in shown])).cpu()
        # in double precision and in order: the mean of one is that one, and runs agree
        sums = np.bincount(places, found.double().numpy(), len(self.values))
        times = np.bincount(places, minlength=len(self.values))
        seen = times > 0
        self.values[torch.from_numpy(seen)] = torch.from_numpy(sums[seen] / times[seen]).float()

    def levels(self, count: int) -> npt.NDArray[np.int64]:
        """Return the strengths on a grid of `count` levels: int64 [images] in 0..count-1."""
        return (self.values * (count - 1)).round().long().numpy()

    def mean(self) -> float:
        """Return the mean over all images."""
        return float(self.values.double().mean())
