"""Parameters that do not fit the data: refused before anything is decoded or written."""

from pathlib import Path

import data_files
import numpy as np
import pytest

from rolekd.data import fits
from rolekd.errors import InputError
from rolekd.params import BaseAugmentParams, DataParams, Params
from rolekd.sources import decode
from rolekd.sources.prepare import prepare, prepare_folder
from rolekd.sources.splits import all_splits
from rolekd.train.augmentation import make_engine


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


def test_what_just_fits_is_taken():
    params = Params.model_validate(
        {
            "augment": {"crop_padding": 7, "cutout": 8},
            "teacher": {"training": {"batch_size": 1438}},
        }
    )
    fits.check(params, (8, 8), 1438)


def test_a_training_asks_too(tmp_path):
    digits = prepare(DataParams(path=Path("digits")), 0)
    with pytest.raises(InputError, match=r"augment\.cutout: .* larger than images of 8x8"):
        make_engine(BaseAugmentParams(cutout=9), digits, 1)
