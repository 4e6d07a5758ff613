"""Splits: stratified, seeded, and disjoint by content."""

from dataclasses import replace

import numpy as np

from rolekd import seeds
from rolekd.data.content import PixelSums
from rolekd.data.dataset import Dataset, Indices, Labels
from rolekd.errors import InputError, few
from rolekd.params import DataParams

MINIMUM_PER_CLASS = 5


def stratified(
    indices: Indices, groups: Indices, labels: Labels, fraction: float, seed: int
) -> tuple[Indices, Indices]:
    """Divide `indices` into two sorted, disjoint parts; the second holds `fraction` of each class.

    Args:
        indices: Of the images to divide.
        groups: int64 [N]; images with equal pixels have equal numbers. A group is never divided,
            so that no image of one part is in the other. It counts for the class of the
            image of it that is drawn first.
        labels: int64 [N].
        fraction: Of each class.
        seed: Decides which images.
    """
    order = np.random.Generator(np.random.Philox(seed)).permutation(indices)
    members_of: dict[int, list[int]] = {}
    for index, group in zip(order.tolist(), groups[order].tolist(), strict=True):
        members_of.setdefault(group, []).append(index)
    wanted = {label: fraction * count for label, count in _class_counts(labels[indices]).items()}
    second: list[int] = []
    for members in members_of.values():
        label = int(labels[members[0]])
        # half a group of tolerance rounds each class to its nearest possible share
        if wanted[label] >= len(members) / 2:
            wanted[label] -= len(members)
            second.extend(members)
    chosen = np.sort(np.array(second, dtype=np.int64))
    return np.setdiff1d(indices, chosen), chosen


def all_splits(
    groups: Indices,
    labels: Labels,
    classes: tuple[str, ...],
    test: Indices | None,
    params: DataParams,
    seed: int,
    validation: Indices | None = None,
) -> dict[str, Indices]:
    """Return the four splits of a data set.

    An image that is in several of the source's own splits stays where it decides least: in
    the test split, else among the validation images.

    Args:
        groups: int64 [N]; images with equal pixels have equal numbers.
        labels: int64 [N].
        classes: Names, for errors.
        test: Indices of the source's own test split, which stays as it is. None draws
            `params.test_fraction` of the images to train on, and adds what
            `params.training_images` leaves over.
        params: The sizes: shares, and at most how many images of train.
        seed: The run's base seed.
        validation: Indices of the source's own validation images, which become search_val. None
            draws `params.search_validation_fraction` of the images to train on.

    Raises:
        InputError: A class has too few images, or a split would have none.
    """
    _require_enough(labels, classes)
    own_test = test
    nothing = np.array([], np.int64)
    if test is not None and not len(test):
        raise InputError("data: the test split has no images; download the data again")
    tested = nothing if test is None else test
    held = nothing if validation is None else _outside(validation, tested, groups)
    if validation is not None and not len(held):
        raise InputError(
            "data: no validation image that is not in the test split, too; add some, or remove "
            "the validation split and have one drawn"
        )
    kept = np.concatenate([tested, held])
    train = _outside(np.arange(len(labels), dtype=np.int64), kept, groups)
    if len(kept):
        _require_enough(labels[train], classes, " to train on that are in no other split")
    if test is None:
        train, test = stratified(
            train, groups, labels, params.test_fraction, seeds.derive(seed, "split test")
        )
        _require_images("test_fraction", params.test_fraction, train=train, test=test)
    whole = train
    train = _at_most(params.training_images, whole, groups, labels, seed)
    if own_test is None:  # what is not trained on makes the test sharper
        test = np.sort(np.concatenate([test, np.setdiff1d(whole, train)]))
    if params.training_images is not None:
        _require_enough(labels[train], classes, " to train on, with training_images,")
    if validation is not None:
        return {"search_train": train, "search_val": held, "train": train, "test": test}
    fraction = params.search_validation_fraction
    search_train, search_val = stratified(
        train, groups, labels, fraction, seeds.derive(seed, "split search")
    )
    _require_images(
        "search_validation_fraction", fraction, search_train=search_train, search_val=search_val
    )
    return {"search_train": search_train, "search_val": search_val, "train": train, "test": test}


def redrawn(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Return a data set whose splits search_train and search_val are drawn anew.

    They divide the same images; search_val has `fraction` of each class. Validation images of the
    user's own stay what they are, and the data set as it is.

    Raises:
        InputError: A class would have no image in one of them.
    """
    if dataset.own_validation:
        return dataset
    found = np.sort(np.concatenate([dataset.splits["search_train"], dataset.splits["search_val"]]))
    groups = np.zeros(len(dataset.images), np.int64)
    groups[found] = PixelSums.of(dataset.images[found]).groups()
    train, validation = stratified(found, groups, dataset.labels, fraction, seed)
    for part in (train, validation):
        seen = set(dataset.labels[part].tolist())
        for label, name in enumerate(dataset.classes):
            if label not in seen:
                raise InputError(
                    f"search.confirm.validation_fraction {fraction:g}: leaves no image of class "
                    f"{name} in a part of the {len(found)} training images; set it nearer to 0.5, "
                    "or add images"
                )
    return replace(
        dataset, splits={**dataset.splits, "search_train": train, "search_val": validation}
    )


def redrawn_sizes(dataset: Dataset, fraction: float) -> tuple[int, int]:
    """Return how many images `redrawn` has in search_train and search_val, if all differ."""
    parts = [dataset.splits[split] for split in ("search_train", "search_val")]
    if dataset.own_validation:
        return len(parts[0]), len(parts[1])
    labels = dataset.labels[np.concatenate(parts)]
    # of each class, as `stratified` rounds it
    second = sum(int(fraction * count + 0.5) for count in _class_counts(labels).values())
    return len(labels) - second, second


def _outside(indices: Indices, others: Indices, groups: Indices) -> Indices:
    """Return those of `indices` whose images do not stand among `others`, too."""
    return indices[~np.isin(groups[indices], groups[others])]


def _at_most(
    count: int | None, train: Indices, groups: Indices, labels: Labels, seed: int
) -> Indices:
    """Return `count` of the training images, of each class its share; None: all."""
    if count is None or count >= len(train):
        return train
    seed = seeds.derive(seed, "training images")
    kept, _ = stratified(train, groups, labels, 1 - count / len(train), seed)
    return kept


def _require_images(key: str, fraction: float, **parts: Indices) -> None:
    """Refuse a fraction, the parameter `key`, that leaves one of the two parts empty."""
    images = sum(map(len, parts.values()))
    for position, (name, part) in enumerate(parts.items()):
        if not len(part):
            raise InputError(
                f"data.{key}: {fraction:g} of {images} images leaves none for the split {name}; "
                f"make it {('less', 'more')[position]}, or add images"
            )


def _require_enough(labels: Labels, classes: tuple[str, ...], which: str = "") -> None:
    if len(classes) < 2:
        raise InputError(
            f"data: only one class, {', '.join(classes)}; a classifier needs two or more"
        )
    counts = np.bincount(labels, minlength=len(classes))
    short = [f"{classes[i]} ({counts[i]})" for i in np.flatnonzero(counts < MINIMUM_PER_CLASS)]
    if short:
        raise InputError(
            f"data: fewer than {MINIMUM_PER_CLASS} images{which} in class "
            f"{few(short)}; add images or remove the class"
        )


def _class_counts(labels: Labels) -> dict[int, int]:
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
