"""Predictions of a network, with running BatchNorm statistics, for every image."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from rolekd.data.batches import Normalize
from rolekd.data.dataset import Images, Labels

_BATCH = 512


def predict(network: nn.Module, images: Images, normalize: Normalize) -> npt.NDArray[np.float32]:
    """Return the logits float32 [N, K] of images uint8 [N, H, W, C], without augmentation."""
    network.eval()
    with torch.inference_mode():
        parts = [
            network(normalize(images[start : start + _BATCH])).float().cpu()
            for start in range(0, len(images), _BATCH)
        ]
    return torch.cat(parts).numpy()


def accuracy(logits: npt.NDArray[np.float32], labels: Labels) -> float:
    """Return the share of images whose largest logit is their label's."""
    return float((logits.argmax(axis=1) == labels).mean())
