"""What every source must do. A new source needs a row of `CASES`, and inherits the tests."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import data_files
import numpy as np
import pytest

from rolekd.data import dataset as datasets
from rolekd.errors import InputError
from rolekd.params import DataParams
from rolekd.sources import SOURCES, open_source
from rolekd.sources.formats.idx import FashionMnist
from rolekd.sources.prepare import prepare, prepare_folder

# name of the case -> (source, what makes its raw data in a folder, parameters)
CASES: dict[str, tuple[str, Callable[[Path], object], dict[str, object]]] = {
    "digits": ("digits", Path, {}),
    "photos": ("image-folder", data_files.photos, {"image_size": 8}),
    "gray photos": ("image-folder", data_files.photos, {"image_size": 8, "channels": 1}),
    "divided photos": ("image-folder", data_files.divided, {"image_size": 8}),
    "table": ("csv", data_files.table, {"image_size": 8}),
    "table without splits": ("csv", lambda root: data_files.table(root, False), {"image_size": 8}),
    "photos divided in three": (
        "image-folder",
        lambda root: data_files.divided(root, ("training", "valid", "testing")),
        {"image_size": 8},
    ),
    "tiny imagenet": ("image-folder", data_files.tiny_imagenet, {"image_size": 8}),
    "table of three splits": (
        "csv",
        lambda root: data_files.table(root, parts=("train", "dev", "test")),
        {"image_size": 8},
    ),
    "fashion": ("fashion-mnist", data_files.idx, {}),
    "idx": ("idx", data_files.idx, {}),
    "plain idx": ("idx", lambda root: data_files.idx(root / "raw", False), {}),
    "letters": ("idx", lambda root: data_files.idx(root, prefix="emnist-letters-", first=1), {}),
    **{
        f"{name}, {'pickled' if pickled else 'binary'}": (
            name,
            lambda root, name=name, pickled=pickled: data_files.cifar(root, name, pickled),
            {},
        )
        for name in ("cifar10", "cifar100")
        for pickled in (False, True)
    },
}


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(" ", "-"))
def params(request, tmp_path_factory) -> Iterator[DataParams]:
    source, make, values = CASES[request.param]
    root = tmp_path_factory.mktemp("raw") / ("digits" if source == "digits" else "raw")
    root.mkdir()
    make(root)
    with pytest.MonkeyPatch.context() as patch:
        # the case is not the official files, which only those that have them could try
        patch.setattr(FashionMnist, "_CONTENTS", data_files.contents(root))
        yield DataParams(source=source, path=root, **values)


def test_every_source_has_a_case():
    assert {source for source, _, _ in CASES.values()} == set(SOURCES)


def test_the_listing_says_what_the_blocks_hold(params):
    source = open_source(params)
    listing = source.listing()
    blocks = list(source.blocks())
    assert all(block.images.dtype == np.uint8 for block in blocks)
    assert all(block.images.shape[1:] == source.shape() for block in blocks)
    assert not any(block.faults for block in blocks)
    count = sum(len(block.images) for block in blocks)
    assert count == len(listing.labels) == len(listing.names) == len(set(listing.names))
    assert source.shape()[2] in (1, 3)


def test_labels_are_numbers_of_classes_and_every_class_occurs(params):
    listing = open_source(params).listing()
    assert listing.labels.dtype == np.int64
    assert set(listing.labels.tolist()) == set(range(len(listing.classes)))
    assert len(set(listing.classes)) == len(listing.classes)


def test_its_own_splits_are_disjoint_parts_of_the_images(params):
    listing = open_source(params).listing()
    parts = [part for part in (listing.test, listing.validation) if part is not None]
    for part in parts:
        assert 0 < len(part) < len(listing.labels)
        assert part.min() >= 0
        assert part.max() < len(listing.labels)
    together = np.concatenate([*parts, []])
    assert len(np.unique(together)) == len(together) < len(listing.labels)


def test_two_readings_are_the_same_and_pixels_vary(params):
    first, second = (
        np.concatenate([block.images for block in open_source(params).blocks()]) for _ in range(2)
    )
    assert np.array_equal(first, second)
    assert len({image.tobytes() for image in first}) == len(first)


def test_blocks_do_not_need_the_listing_first(params):
    blocks = open_source(params).blocks()
    assert len(next(blocks).images) > 0


def test_it_becomes_the_same_data_set_on_disk_and_in_memory(params, tmp_path):
    shown = []
    written, quality = prepare_folder(params, 3, tmp_path / "data", lambda *n: shown.append(n))
    held = prepare(params, 3)
    assert np.array_equal(written.images, held.images)
    assert written.digest == held.digest
    assert (written.mean, written.std, written.classes) == (held.mean, held.std, held.classes)
    assert shown[-1] == (len(held.labels), len(held.labels))
    assert quality.images == len(held.labels)
    splits = {name: set(indices.tolist()) for name, indices in held.splits.items()}
    own = open_source(params).listing().validation
    if own is None:
        assert splits["train"] == splits["search_train"] | splits["search_val"]
    else:
        assert splits["train"] == splits["search_train"]
        assert splits["search_val"] == set(own.tolist())
    assert held.own_validation == (own is not None)
    assert not splits["search_train"] & splits["search_val"]
    assert not (splits["train"] | splits["search_val"]) & splits["test"]
    fates = [count for counts in quality.became.values() for count in counts.values()]
    assert sum(fates) == len(held.labels)
    assert all(splits.values())
    assert isinstance(datasets.load(tmp_path / "data").images, np.memmap)


def test_another_image_size_is_obeyed_or_refused(params):
    other = params.model_copy(update={"image_size": 13})
    try:
        source = open_source(other)
    except InputError as error:
        assert str(error).startswith("data.image_size: ")
    else:
        assert source.shape()[:2] == (13, 13)
        assert next(source.blocks()).images.shape[1:3] == (13, 13)


def test_other_channels_are_obeyed_or_refused(params):
    wanted = 4 - open_source(params).shape()[2]
    other = params.model_copy(update={"channels": wanted})
    try:
        source = open_source(other)
    except InputError as error:
        assert re.match(r"data\.channels: .* are (gray; set 1|RGB; set 3) or null$", str(error))
    else:
        assert source.shape()[2] == next(source.blocks()).images.shape[3] == wanted


def test_a_missing_folder_is_named(params):
    away = params.model_copy(update={"path": Path("no/such/folder")})
    with pytest.raises(InputError, match=r"no/such/folder"):
        open_source(away)
