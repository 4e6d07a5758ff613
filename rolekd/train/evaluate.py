"""Predictions of a network for every image, with running BatchNorm statistics."""

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize
from torch import nn

from rolekd.data.batches import Normalize
from rolekd.data.dataset import Dataset, Images, Labels
from rolekd.quantize.lower import lower
from rolekd.quantize.modules import QuantConv2d

_BATCH = 512
_TEMPERATURES = (-5.0, 10.0)  # their logarithms; at the upper end all classes are equally likely

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
    """Return the logits of a low-bit student in integers, exactly those of the exported graph.

    In float, the order of a sum decides how a value on the edge of two levels is rounded; in
    integers it does not matter.
    """
    network = lower(
        student.eval(), mean=dataset.mean, std=dataset.std, image_size=dataset.image_size
    )
    parts = [network(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return torch.cat(parts).numpy()


def predict_as_deployed(network: nn.Module, images: Images, dataset: Dataset) -> Logits:
    """Return the logits of a low-bit network in integers, of any other as it is trained."""
    if any(isinstance(part, QuantConv2d) for part in network.modules()):
        return predict_integers(network, images, dataset)
    device = next(network.parameters()).device
    return predict(network, images, Normalize(dataset, device))


def log_loss(logits: Logits, labels: Labels) -> float:
    """Return the mean log loss, in nats, at the temperature that minimises it.

    Accuracy says only whether an image is right, log loss how near it is to being right, so it says
    more with few images. The temperature (Guo et al. 2017, section 4.2) takes out how sure the
    network is overall: augmentation makes networks less sure without making them better.
    """
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    own = wide[np.arange(len(labels)), labels]

    def at(logarithm: float) -> float:
        scale = np.exp(-logarithm)
        return float(np.mean(np.log(np.exp(scale * wide).sum(axis=1)) - scale * own))

    return float(optimize.minimize_scalar(at, bounds=_TEMPERATURES, method="bounded").fun)


def accuracy(logits: Logits, labels: Labels) -> float:
    """Return the share of images whose largest logit is their label's."""
    return float((logits.argmax(axis=1) == labels).mean())
