"""Small data and networks that several targets make their examples of."""

import numpy as np

from rolekd.data import dataset as datasets
from rolekd.data.dataset import Dataset
from rolekd.params import ModelParams, StudentParams, TeacherParams, TrainingParams

EPOCHS = 3
TRAINING = TrainingParams(epochs=EPOCHS, batch_size=16)
TEACHER = TeacherParams(model=ModelParams(width=2), training=TRAINING)
STUDENT = StudentParams(model=ModelParams(width=2), training=TRAINING)


def dataset(classes: tuple[str, ...] = ("cat", "dog", "fish")) -> Dataset:
    """Return 48 images [8, 8, 1] of noise; all splits but the test are the same 32 of them."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (48, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(48) % len(classes)
    splits = {name: np.arange(32) for name in ("train", "search_train", "search_val")}
    splits["test"] = np.arange(32, 48)
    return datasets.assemble("noise", images, labels, classes, splits)
