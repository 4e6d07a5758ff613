"""Splits: stratified, seeded, and disjoint by content."""

import hashlib

import numpy as np

from rolekd import seeds
from rolekd.data.dataset import Images, Indices, Labels
from rolekd.errors import InputError

MINIMUM_PER_CLASS = 5


def stratified(
    indices: Indices,
    images: Images,
    labels: Labels,
    fraction: float,
    seed: int,
) -> tuple[Indices, Indices]:
    """Divide `indices` into two sorted, disjoint parts; the second holds `fraction` of each class.

    Images with equal pixels form a group that is never divided, so that no image of one part
    stands in the other. A group counts for the class of its first image.
    """
    order = np.random.Generator(np.random.Philox(seed)).permutation(indices)
    groups: dict[bytes, list[int]] = {}
    for index in order:
        groups.setdefault(hashlib.sha256(images[index]).digest(), []).append(int(index))
    wanted = {label: fraction * count for label, count in _class_counts(labels[indices]).items()}
    second: list[int] = []
    for members in groups.values():
        label = int(labels[members[0]])
        # half a group of tolerance rounds each class to its nearest possible share
        if wanted[label] >= len(members) / 2:
            wanted[label] -= len(members)
            second.extend(members)
    chosen = np.sort(np.array(second, dtype=np.int64))
    return np.setdiff1d(indices, chosen), chosen


def all_splits(
    images: Images,
    labels: Labels,
    classes: tuple[str, ...],
    test: Indices | None,
    test_fraction: float,
    search_validation_fraction: float,
    seed: int,
) -> dict[str, Indices]:
    """Return the four splits of a data set.

    Args:
        images: uint8 [N, H, W, C].
        labels: int64 [N].
        classes: Names, for errors.
        test: Indices of the source's own test split; None draws `test_fraction` of all images.
        test_fraction: See `test`.
        search_validation_fraction: Share of train that becomes search_val.
        seed: The run's base seed.
    """
    _require_enough(labels, classes)
    everything = np.arange(len(labels), dtype=np.int64)
    if test is None:
        train, test = stratified(
            everything, images, labels, test_fraction, seeds.derive(seed, "split test")
        )
    else:
        train = np.setdiff1d(everything, test)
    search_train, search_val = stratified(
        train, images, labels, search_validation_fraction, seeds.derive(seed, "split search")
    )
    return {"search_train": search_train, "search_val": search_val, "train": train, "test": test}


def _require_enough(labels: Labels, classes: tuple[str, ...]) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    short = [f"{classes[i]} ({counts[i]})" for i in np.flatnonzero(counts < MINIMUM_PER_CLASS)]
    if short:
        raise InputError(
            f"data: fewer than {MINIMUM_PER_CLASS} images in class {', '.join(short[:10])}; "
            "add images or remove the class"
        )
    if len(classes) < 2:
        raise InputError("data: only one class; a classifier needs two or more")


def _class_counts(labels: Labels) -> dict[int, int]:
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
