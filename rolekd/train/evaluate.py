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

_MOST = 512  # images at once
_PIXELS = _MOST * 96 * 96  # of them: 512 images of 224 pixels would take 8 GB of a ResNet18
_TEMPERATURES = (-5.0, 10.0)  # their logarithms; at the upper end all classes are equally likely

Logits = npt.NDArray[np.float32]


def at_once(images: Images) -> int:
    """Return how many of images uint8 [N, H, W, C] a network is given at once."""
    height, width = images.shape[1:3]
    return max(1, min(_MOST, _PIXELS // int(height * width)))


def predict(network: nn.Module, images: Images, normalize: Normalize) -> Logits:
    """Return the logits float32 [N, K] of images uint8 [N, H, W, C], without augmentation."""
    network.eval()
    count = at_once(images)
    with torch.inference_mode():
        parts = [
            network(normalize(images[start : start + count])).float().cpu()
            for start in range(0, len(images), count)
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
    count = at_once(images)
    parts = [network(images[start : start + count]) for start in range(0, len(images), count)]
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
