"""What augments the batches of each epoch of a training."""

from collections.abc import Callable
from dataclasses import dataclass

from rolekd.augment.engine import Engine
from rolekd.augment.handmade import Adaptive
from rolekd.augment.recipe import Augmentation
from rolekd.data import fits
from rolekd.data.batches import Augment
from rolekd.data.dataset import Dataset
from rolekd.params import BaseAugmentParams
from rolekd.train.strengths import Strengths


def make_engine(base: BaseAugmentParams, dataset: Dataset, threads: int) -> Engine:
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


@dataclass(frozen=True)
class Following:
    """Epoch -> what augments a batch: each image the more strongly, the surer the network is of it.

    Attributes:
        engine: Applies it.
        augmentation: With a level for every strength.
        strengths: Of the images of the split, as an epoch begins. A `Training` puts its own here;
            None: all are 0, as before the network's first prediction.
    """

    engine: Engine
    augmentation: Adaptive
    strengths: Strengths | None = None

    def __call__(self, epoch: int) -> Augment:
        """Return what augments the batches of an epoch that begins now."""
        del epoch  # the strengths change from epoch to epoch
        if self.strengths is None:
            return lambda images, seed, _: self.engine.apply(images, self.augmentation, seed)
        levels = self.strengths.levels(self.augmentation.bins)
        return lambda images, seed, places: self.engine.apply(
            images, self.augmentation, seed, levels[places]
        )


def applied(engine: Engine, over: Callable[[int], Augmentation]) -> Callable[[int], Augment]:
    """Return epoch -> what augments a batch, from epoch -> what acts before the base.

    If it is adaptive in the first epoch, it is in all: a training makes it follow the network.
    """
    first = over(0)
    if isinstance(first, Adaptive):
        return Following(engine, first)

    def at(epoch: int) -> Augment:
        augmentation = over(epoch)
        return lambda images, seed, _: engine.apply(images, augmentation, seed)

    return at


def constant(engine: Engine, augmentation: Augmentation) -> Callable[[int], Augment]:
    """Return the augmentation that is the same in every epoch; None: the base alone."""
    return applied(engine, lambda _: augmentation)
