"""Parameters that do not fit the data: refused before anything is decoded or written."""

import re
from pathlib import Path

import data_files
import numpy as np
import pytest

from rolekd.data import fits
from rolekd.errors import InputError
from rolekd.params import BaseAugmentParams, DataParams, Params, TrainingParams
from rolekd.sources import decode
from rolekd.sources.prepare import prepare, prepare_folder
from rolekd.sources.splits import all_splits
from rolekd.train.augmentation import make_engine
from rolekd.train.training import _parts


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        (
            {"test_fraction": 0.01},
            r"test_fraction: 0\.01 of 24 .* for the split test; .* more",
        ),
        ({"test_fraction": 0.99}, r"test_fraction: 0\.99 of 24 .* for the split train; .* less"),
        (
            {"search_validation_fraction": 0.01},
            r"search_validation_fraction: 0\.01 of 20 .* for the split search_val; .* more",
        ),
        (
            {"search_validation_fraction": 0.99},
            r"search_validation_fraction: 0\.99 of 20 .* for the split search_train; .* less",
        ),
    ],
)
def test_a_split_without_images_is_refused_before_any_is_decoded(
    tmp_path, monkeypatch, fractions, message
):
    params = DataParams(
        source="image-folder", path=data_files.photos(tmp_path / "raw"), image_size=8, **fractions
    )
    monkeypatch.setattr(decode, "decode", lambda *_: pytest.fail("an image was decoded"))
    with pytest.raises(InputError, match=message):
        prepare_folder(params, 0, tmp_path / "out" / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_split_that_equal_images_leave_empty_is_refused():
    labels = np.repeat([0, 1], 10).astype(np.int64)
    # each class has one picture only, ten times: it goes whole to one side
    with pytest.raises(InputError, match=r"test_fraction: 0\.2 of 20 images leaves none"):
        all_splits(
            labels,
            labels,
            ("a", "b"),
            None,
            DataParams(test_fraction=0.2, search_validation_fraction=0.5),
            0,
        )


def test_classes_that_a_split_lacks_are_noted(tmp_path):
    raw = data_files.photos(tmp_path / "raw")
    for number in range(60):
        data_files.photo(raw / "elk" / f"{number}.png", 9000 + number)
    params = DataParams(source="image-folder", path=raw, image_size=8, test_fraction=0.03)
    _, quality = prepare_folder(params, 0, tmp_path / "data")
    assert any("cat (test), dog (test)" in line for line in quality.warnings())


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"augment": {"crop_padding": 8}}, r"augment\.crop_padding: 8 .* at most 7"),
        ({"augment": {"cutout": 9}}, r"augment\.cutout: .* of 9 pixels .* at most 8"),
        (
            {"teacher": {"training": {"batch_size": 1500}}},
            r"teacher\.training\.batch_size: 1500 is more than the 1438 images .* at most 1438",
        ),
        ({"student": {"training": {"batch_size": 1439}}}, r"student\.training\.batch_size: 1439"),
    ],
)
def test_what_does_not_fit_the_images_is_refused_before_they_are_decoded(
    tmp_path, sections, message
):
    params = Params.model_validate(sections)
    with pytest.raises(InputError, match=message):
        prepare_folder(
            params.data, 0, tmp_path / "data", check=lambda *data: fits.check(params, *data)
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("images", "batch_size", "accumulate", "team", "remedy"),
    [
        (7, 8, 4, 1, "accumulate less"),  # one batch of 7, of which a part has one image
        (10, 8, 2, 1, None),  # 5 and 5
        (1438, 8, 4, 1, "make batch_size 9, or accumulate less"),  # of 7 and 8
        (1440, 8, 4, 1, None),
        (5, 2, 1, 1, "make batch_size 3"),  # of 1, 2 and 2
        (6, 2, 1, 1, None),
        (9, 4, 1, 2, "for 2 processes .* make batch_size 5"),
        (1, 2, 1, 1, "fewer parts or processes"),
    ],
)
def test_batches_as_they_really_are(images, batch_size, accumulate, team, remedy):
    params = TrainingParams(batch_size=batch_size, accumulate=accumulate)
    sizes = [len(part) for part in np.array_split(np.arange(images), -(-images // batch_size))]
    parts = [slice_ for size in sizes for slice_ in _parts(size, accumulate)]
    assert (min(part.stop - part.start for part in parts) // team >= 2) == (remedy is None)
    if remedy is None:
        fits.check_batches("teacher.training", params, images, team)
        return
    message = rf"teacher\.training\.batch_size: {batch_size} cuts {images} images .* {remedy}"
    with pytest.raises(InputError, match=message):
        fits.check_batches("teacher.training", params, images, team)


def test_the_remedy_helps():
    for images in range(2, 60):
        for batch_size in range(2, 20):
            try:
                fits.check_batches("x", TrainingParams(batch_size=batch_size), images, 2)
            except InputError as error:
                if found := re.search(r"make batch_size (\d+)", str(error)):
                    larger = TrainingParams(batch_size=int(found[1]))
                    fits.check_batches("x", larger, images, 2)


def test_the_search_has_batches_of_its_own():
    params = Params.model_validate({"student": {"training": {"batch_size": 8, "accumulate": 4}}})
    fits.check(params, (8, 8), {"train": 80, "search_train": 64})
    with pytest.raises(InputError, match=r"student\.training\.batch_size: 8 cuts 63 images"):
        fits.check(params, (8, 8), {"train": 80, "search_train": 63})


def test_what_just_fits_is_taken():
    params = Params.model_validate(
        {
            "augment": {"crop_padding": 7, "cutout": 8},
            "teacher": {"training": {"batch_size": 1438}},
        }
    )
    fits.check(params, (8, 8), {"train": 1438, "search_train": 1150})


def test_a_training_asks_too(tmp_path):
    digits = prepare(DataParams(path=Path("digits")), 0)
    with pytest.raises(InputError, match=r"augment\.cutout: .* larger than images of 8x8"):
        make_engine(BaseAugmentParams(cutout=9), digits, 1)
