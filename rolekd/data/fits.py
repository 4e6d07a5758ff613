"""Do the parameters fit the images? What the schema cannot know, asked before any work."""

from collections.abc import Mapping

from rolekd import processes
from rolekd.errors import InputError
from rolekd.params import BaseAugmentParams, Params, TrainingParams

TRAINED_ON = ("train", "search_train")  # splits


def check(params: Params, size: tuple[int, int], sizes: Mapping[str, int]) -> None:
    """Refuse parameters that do not fit a data set.

    Args:
        params: of the whole run.
        size: height and width of the images, in pixels.
        sizes: number of images in each split. The search trains on fewer; its batches are then
            all of them.
    """
    check_augment(params.augment, size)
    images = sizes["train"]
    for role, of_role in (("teacher", params.teacher), ("student", params.student)):
        if of_role.training.batch_size > images:
            raise InputError(
                f"{role}.training.batch_size: {of_role.training.batch_size} is more than the "
                f"{images} images to train on; make it at most {images}"
            )
        for split in TRAINED_ON:
            training, count = of_role.training, sizes[split]
            check_batches(f"{role}.training", training, count, processes.team_size())


def check_batches(section: str, params: TrainingParams, images: int, team: int) -> None:
    """Refuse batches of which a process would see a single image at once.

    Batches differ by one image, and so do their parts and the shares of processes; BatchNorm has
    no statistics of one value.

    Args:
        section: names the parameters in errors.
        params: of the training.
        images: that it trains on; they are in batches of as equal sizes as possible.
        team: processes that share a batch.
    """
    ways = params.accumulate * team
    if _smallest(images, params.batch_size) >= 2 * ways:
        return
    sharers = f" for {team} processes" if team > 1 else ""
    wanted = range(params.batch_size + 1, images + 1)
    larger = next((size for size in wanted if _smallest(images, size) >= 2 * ways), None)
    remedy = "fewer parts or processes" if larger is None else f"make batch_size {larger}"
    if params.accumulate > 1:
        remedy += ", or accumulate less"
    raise InputError(
        f"{section}.batch_size: {params.batch_size} cuts {images} images into batches of "
        f"{_smallest(images, params.batch_size)} and more, too small{sharers} with accumulate "
        f"{params.accumulate}: BatchNorm needs two images in each part; {remedy}"
    )


def _smallest(images: int, batch_size: int) -> int:
    """Return the size of the smallest batch of an epoch."""
    return images // -(-images // batch_size)


def check_augment(params: BaseAugmentParams, size: tuple[int, int]) -> None:
    """Refuse a crop that can miss the image (height and width `size`), or a larger Cutout."""
    height, width = size
    if params.crop_padding >= min(size):
        raise InputError(
            f"augment.crop_padding: {params.crop_padding} pixels around images of {width}x{height} "
            f"leave crops without any of the image; make it at most {min(size) - 1}"
        )
    if params.cutout > min(size):
        raise InputError(
            f"augment.cutout: a square of {params.cutout} pixels is larger than images of "
            f"{width}x{height}; make it at most {min(size)}"
        )
