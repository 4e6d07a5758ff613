"""Do the parameters fit the images? What the schema cannot know, asked before any work."""

from typing import TYPE_CHECKING

from rolekd.errors import InputError

if TYPE_CHECKING:
    from rolekd.params import BaseAugmentParams, Params


def check(params: "Params", size: tuple[int, int], images: int) -> None:
    """Refuse parameters that do not fit a data set.

    Args:
        params: of the whole run.
        size: height and width of the images, in pixels.
        images: number of those to train on. The search trains on fewer; its batches are then all
            of them.
    """
    check_augment(params.augment, size)
    for role, of_role in (("teacher", params.teacher), ("student", params.student)):
        if of_role.training.batch_size > images:
            raise InputError(
                f"{role}.training.batch_size: {of_role.training.batch_size} is more than the "
                f"{images} images to train on; make it at most {images}"
            )


def check_augment(params: "BaseAugmentParams", size: tuple[int, int]) -> None:
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
