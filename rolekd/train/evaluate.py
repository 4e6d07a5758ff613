"""Predictions of a network, with running BatchNorm statistics, for every image."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from rolekd.data.batches import Normalize
from rolekd.data.dataset import Dataset, Images, Labels
from rolekd.quantize.lower import lower

_BATCH = 512

Logits = npt.NDArray[np.float32]


def predict(network: nn.Module, images: Images, normalize: Normalize) -> Logits:
    """Return the logits float32 [N, K] of images uint8 [N, H, W, C], without augmentation."""
    network.eval()
    with torch.inference_mode():
        parts = [
            network(normalize(images[start : start + _BATCH])).float().cpu()
            for start in range(0, len(images), _BATCH)
        ]
    return torch.cat(parts).numpy()


def predict_integers(student: nn.Module, images: Images, dataset: Dataset) -> Logits:
    """Return the logits of a low-bit student in integers, exactly as the exported graph has them.

    In float, a value that lies on the edge between two levels is rounded this way or that by the
    order of summation; the integers have no such freedom.
    """
    network = lower(
        student.eval(), mean=dataset.mean, std=dataset.std, image_size=dataset.image_size
    )
    parts = [network(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return torch.cat(parts).numpy()


def accuracy(logits: Logits, labels: Labels) -> float:
    """Return the share of images whose largest logit is their label's."""
    return float((logits.argmax(axis=1) == labels).mean())
