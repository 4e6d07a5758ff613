"""From a source to a data set: read once, split, measured, and written while reading."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.data.content import PixelSums
from rolekd.data.dataset import Dataset, Images, Indices
from rolekd.data.pixels import PixelFile
from rolekd.errors import InputError, few
from rolekd.params import DataParams
from rolekd.sources import Listing, Source, open_source
from rolekd.sources.listing import not_followed
from rolekd.sources.quality import Faults, Quality, examine
from rolekd.sources.splits import all_splits

QUALITY = "quality.json"

# (images read, images in all)
OnProgress = Callable[[int, int], None]
# (height and width of the images, number of images to train on): raises what does not fit them
SizeCheck = Callable[[tuple[int, int], Mapping[str, int]], None]


def prepare(params: DataParams, seed: int, progress: OnProgress | None = None) -> Dataset:
    """Read the source that `params` names, split it and compute its statistics, in memory."""
    source = open_source(params)
    parts: list[Images] = []
    listing = _listing(source, params, seed)
    listing, content, _ = _read(source, listing, params, parts.append, progress)
    return _assemble(params, seed, np.concatenate(parts), listing, content)


def prepare_folder(
    params: DataParams,
    seed: int,
    folder: Path,
    progress: OnProgress | None = None,
    check: SizeCheck | None = None,
) -> tuple[Dataset, Quality]:
    """Like `prepare`, but write the data set as `datasets.save` would, completely or not at all.

    The images go to the disk as they are decoded: memory holds a few blocks of them. Findings
    about the data are in quality.json beside them. `check` is asked before any is decoded, and
    again when equal and unreadable ones are known.

    Raises:
        InputError: The data are not usable.
        RunError: The disk is full.
    """
    source = open_source(params)
    listing = _listing(source, params, seed, check)
    with files.replacing_folder(folder) as temporary:
        with PixelFile(temporary / datasets.IMAGES, source.shape()) as file:
            listing, content, faults = _read(source, listing, params, file.append, progress)
        images = np.load(temporary / datasets.IMAGES, mmap_mode="r", allow_pickle=False)
        dataset = _assemble(params, seed, images, listing, content)
        if check is not None:
            check(dataset.image_size, dataset.sizes)
        tested = "test" if params.validation == "search" else "val"
        quality = examine(dataset, content.groups(), listing, faults, tested)
        datasets.save_about(dataset, temporary)
        files.write_json(temporary / QUALITY, quality.to_json())
    return datasets.load(folder), quality


def _listing(
    source: Source, params: DataParams, seed: int, check: SizeCheck | None = None
) -> Listing:
    """Return what a source contains; refuse what cannot be split before any image is decoded."""
    listing = source.listing()
    check_labels(listing)
    listing, sizes = split_sizes(listing, params, seed)
    if check is not None:
        check(source.shape()[:2], sizes)
    return listing


def split_sizes(listing: Listing, params: DataParams, seed: int) -> tuple[Listing, dict[str, int]]:
    """Count the images of each split before any is decoded, as if no two were equal.

    Returns:
        The listing with its validation images as what `params.validation` says; name -> images.

    Raises:
        InputError: It cannot be split.
    """
    try:
        listing = _with_parts(listing, params)
        splits = _split(params, seed, listing, np.arange(len(listing.labels)))
    except InputError as error:  # what is missing may be behind a link
        raise InputError(f"{error}{not_followed(listing.linked)}") from error
    return listing, {name: len(split) for name, split in splits.items()}


def _read(
    source: Source,
    listing: Listing,
    params: DataParams,
    keep: Callable[[Images], None],
    progress: OnProgress | None = None,
) -> tuple[Listing, PixelSums, Faults]:
    """Give all readable images to `keep`; return what is known of them, and of the others."""
    content = PixelSums()
    faults: dict[int, str] = {}
    done = enlarged = 0
    for block in source.blocks():
        readable = np.ones(len(block.images), bool)
        for place, reason in block.faults.items():
            faults[done + place] = reason
            readable[place] = False
        enlarged += block.enlarged
        images = block.images if readable.all() else block.images[readable]
        keep(images)
        content.add(images)
        done += len(readable)
        if progress is not None:
            progress(done, len(listing.labels))
    if done != len(listing.labels):
        raise InputError(
            f"{params.path}: {done} images for {len(listing.labels)} labels; download the data "
            f"again"
        )
    unreadable = {listing.names[index]: reason for index, reason in faults.items()}
    if unreadable and params.on_error == "fail":
        raise InputError(_told(unreadable))
    return _without(listing, sorted(faults)), content, Faults(unreadable, enlarged)


def _with_parts(listing: Listing, params: DataParams) -> Listing:
    """Return the listing with its validation images as what `params.validation` says they are."""
    if params.validation == "search":
        return listing
    if listing.test is not None or listing.validation is None:
        what = "no validation" if listing.validation is None else "test"
        raise InputError(
            f"data.validation: test, but the data have {what} images of their own; set it to search"
        )
    return replace(listing, test=listing.validation, validation=None)


def check_labels(listing: Listing) -> None:
    """Refuse labels that are not the number of a class; the first is named."""
    wrong = np.flatnonzero((listing.labels < 0) | (listing.labels >= len(listing.classes)))
    if len(wrong):
        raise InputError(
            f"{listing.names[wrong[0]]}: label {listing.labels[wrong[0]]} is out of range, "
            f"there are {len(listing.classes)} classes; download or correct the labels"
        )


def _told(unreadable: dict[str, str]) -> str:
    lines = [f"{name} ({reason})" for name, reason in unreadable.items()]
    plural = "s" if len(unreadable) > 1 else ""
    return (
        f"{len(unreadable)} unreadable image{plural}: {few(lines, separator='; ')}; "
        "repair or remove them, or set data.on_error: skip"
    )


def _without(listing: Listing, faults: list[int]) -> Listing:
    """Return the listing of the images that could be read."""
    if not faults:
        return listing
    kept = np.delete(np.arange(len(listing.labels)), faults)

    def moved(part: Indices | None) -> Indices | None:
        return None if part is None else np.searchsorted(kept, np.setdiff1d(part, faults))

    return replace(
        listing,
        names=[listing.names[index] for index in kept.tolist()],
        labels=listing.labels[kept],
        test=moved(listing.test),
        validation=moved(listing.validation),
    )


def _assemble(
    params: DataParams, seed: int, images: Images, listing: Listing, content: PixelSums
) -> Dataset:
    splits = _split(params, seed, listing, content.groups())
    dataset = datasets.assemble(
        params.name, images, listing.labels, listing.classes, splits, content
    )
    return replace(
        dataset,
        balance=params.balance == "sampling",
        own_validation=listing.validation is not None,
    )


def _split(params: DataParams, seed: int, listing: Listing, groups: Indices) -> dict[str, Indices]:
    return all_splits(
        groups,
        listing.labels,
        listing.classes,
        listing.test,
        params,
        seed,
        listing.validation,
    )
