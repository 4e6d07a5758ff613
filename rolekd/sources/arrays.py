"""Arrays as a data set: images and labels in memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rolekd.data import dataset as datasets
from rolekd.data.content import PixelSums
from rolekd.data.dataset import Dataset
from rolekd.errors import InputError, one_line
from rolekd.sources.splits import all_splits

if TYPE_CHECKING:
    from rolekd.params import DataParams


def prepare(
    given: Sequence[ArrayLike],
    params: "DataParams",
    seed: int,
    *,
    test: Sequence[ArrayLike] | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Return a data set made of arrays, split and measured.

    Args:
        given: Images uint8 [N, H, W] or [N, H, W, C] and labels [N], integers from 0 or names.
        params: Sizes of the splits.
        seed: Decides which image goes into which split.
        test: The same for a test set; None: a share of the others.
        classes: Names of the classes; None: the labels'.

    Raises:
        InputError: They are not usable.
    """
    parts = [_images(*_pair(given, "images"), "images")]
    if test is not None:
        parts.append(_images(*_pair(test, "test"), "test"))
    if len({images.shape[1:] for images, _ in parts}) > 1:
        raise InputError("data: images and test have different sizes; give both the same size")
    images = np.concatenate([part for part, _ in parts])
    labels, names = _labels(np.concatenate([labels for _, labels in parts]), classes)
    first = len(parts[0][0])
    content = PixelSums.of(images)
    splits = all_splits(
        content.groups(),
        labels,
        names,
        None if test is None else np.arange(first, len(images)),
        params,
        seed,
    )
    return datasets.assemble("arrays", images, labels, names, splits, content)


def _pair(given: Sequence[ArrayLike], what: str) -> tuple[ArrayLike, ArrayLike]:
    if len(given) != 2:
        raise InputError(f"data: {what}: {len(given)} things; give a pair, (images, labels)")
    return given[0], given[1]


def _images(images: ArrayLike, labels: ArrayLike, what: str) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        pixels, marks = np.asarray(images), np.asarray(labels)
    except ValueError as error:  # of lists whose parts differ in length
        raise InputError(f"data: {what} are not an array ({one_line(error, 80)})") from error
    if marks.dtype == object and all(isinstance(mark, str) for mark in marks):
        marks = marks.astype(str)  # as pandas has them
    if pixels.dtype != np.uint8:
        raise InputError(
            f"data: {what} are {pixels.dtype}; give uint8, 0 to 255 (multiply values "
            "in 0..1 by 255, then convert)"
        )
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise InputError(
            f"data: {what} have the shape {pixels.shape}; give [N, H, W] or [N, H, W, C] with "
            "C 1 or 3"
        )
    if marks.shape != (len(pixels),):
        raise InputError(
            f"data: {len(pixels)} {what}, and labels of the shape {marks.shape}; give one for each"
        )
    return pixels, marks


def _labels(
    given: NDArray[Any], classes: Sequence[str] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels as numbers, and the names of the classes."""
    if np.issubdtype(given.dtype, np.integer):
        labels = given.astype(np.int64)
        count = int(labels.max(initial=-1)) + 1
        names = tuple(map(str, range(count) if classes is None else classes))
        if labels.min(initial=0) < 0 or count > len(names):
            raise InputError(
                f"data: labels from {labels.min()} to {count - 1} for {len(names)} classes; "
                "count from 0"
            )
        return labels, names
    if given.dtype.kind not in "US":
        raise InputError(f"data: labels are {given.dtype}; give integers from 0, or names")
    names_found, places = np.unique(given.astype(str), return_inverse=True)
    names = tuple(names_found.tolist() if classes is None else classes)
    if missing := sorted({*names_found.tolist()} - {*names}):
        raise InputError(f"data: label {missing[0]!r} is not in classes; add it")
    order = np.array([names.index(name) for name in names_found.tolist()], np.int64)
    return order[places].astype(np.int64), names
