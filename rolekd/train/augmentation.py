"""What augments each epoch of a training: a policy that stays, or a schedule."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rolekd.augment.engine import Engine
from rolekd.augment.handmade import RandAugment, TrivialAugment
from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.data import fits
from rolekd.data.batches import Augment
from rolekd.data.dataset import Dataset
from rolekd.train.arms import Arm

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


def constant(
    engine: Engine, policy: Policy | RandAugment | TrivialAugment | None
) -> Callable[[int], Augment]:
    """Return the augmentation that is the same in every epoch; None: the base alone."""
    return lambda _: lambda images, seed: engine.apply(images, policy, seed)


def scheduled(engine: Engine, schedule: Schedule, epochs: int) -> Callable[[int], Augment]:
    """Return the augmentation that follows a schedule, stretched to `epochs` epochs."""
    stretched = schedule.stretch(epochs)

    def at(epoch: int) -> Augment:
        policy = stretched.policy_at(epoch)
        return lambda images, seed: engine.apply(images, policy, seed)

    return at


def of_arm(
    arm: Arm, engine: Engine, schedules: dict[str, Schedule], epochs: int
) -> Callable[[int], Augment]:
    """Return what augments the student of an arm.

    TrivialAugment moves by up to 32 pixels, which is up to the whole image at 32x32; smaller and
    larger images are moved in proportion.

    Args:
        arm: The arm.
        engine: Applies it, base augmentation included.
        schedules: Role -> searched schedule.
        epochs: Length of the training.
    """
    if arm.augmentation == "randaugment":
        return constant(engine, RandAugment())
    if arm.augmentation == "trivialaugment":
        return constant(engine, TrivialAugment(scaled=True))
    if arm.augmentation == "base":
        return constant(engine, None)
    return scheduled(engine, schedules[arm.augmentation], epochs)
