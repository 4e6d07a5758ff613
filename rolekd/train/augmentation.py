"""What augments the batches of each epoch of a training."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rolekd.augment.engine import Engine
from rolekd.augment.recipe import Augmentation
from rolekd.data import fits
from rolekd.data.batches import Augment
from rolekd.data.dataset import Dataset

if TYPE_CHECKING:
    from rolekd.params import BaseAugmentParams


def make_engine(base: "BaseAugmentParams", dataset: Dataset, threads: int) -> Engine:
    """Build the engine of a data set: it fills with the mean colour of the training images.

    Raises:
        InputError: The padding or Cutout does not fit the size of the images.
    """
    fits.check_augment(base, dataset.image_size)
    return Engine(
        dataset.fill,
        crop_padding=base.crop_padding,
        horizontal_flip=base.horizontal_flip,
        cutout=base.cutout,
        threads=threads,
    )


def applied(engine: Engine, over: Callable[[int], Augmentation]) -> Callable[[int], Augment]:
    """Return epoch -> what augments a batch, from epoch -> what acts before the base."""

    def at(epoch: int) -> Augment:
        augmentation = over(epoch)
        return lambda images, seed: engine.apply(images, augmentation, seed)

    return at


def constant(engine: Engine, augmentation: Augmentation) -> Callable[[int], Augment]:
    """Return the augmentation that is the same in every epoch; None: the base alone."""
    return applied(engine, lambda _: augmentation)
