import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from rolekd.data import dataset as datasets
from rolekd.data.batches import Batches, Normalize
from rolekd.errors import InputError
from rolekd.params import DataParams
from rolekd.sources.prepare import prepare


def test_digits_are_whole_and_split_as_promised(digits):
    assert digits.images.shape == (1797, 8, 8, 1)
    assert digits.images.dtype == np.uint8
    assert digits.images.max() == 255
    sizes = {name: len(indices) for name, indices in digits.splits.items()}
    assert sizes["train"] + sizes["test"] == 1797
    assert abs(sizes["test"] - 359) <= 5
    assert sizes["search_train"] + sizes["search_val"] == sizes["train"]
    assert not set(digits.splits["test"]) & set(digits.splits["train"])


def test_statistics_are_those_of_the_training_pixels(digits):
    pixels = digits.split("train")[0].astype(np.float64) / 255
    assert digits.mean == pytest.approx([pixels.mean()], rel=1e-12)
    assert digits.std == pytest.approx([pixels.std()], rel=1e-9)
    assert digits.fill == (round(255 * pixels.mean()),)


def test_a_dataset_survives_its_folder(digits, tmp_path):
    datasets.save(digits, tmp_path / "data")
    loaded = datasets.load(tmp_path / "data")
    assert np.array_equal(loaded.images, digits.images)
    assert np.array_equal(loaded.labels, digits.labels)
    assert all(np.array_equal(loaded.splits[s], digits.splits[s]) for s in datasets.SPLITS)
    assert (loaded.mean, loaded.std, loaded.digest) == (digits.mean, digits.std, digits.digest)
    assert loaded.classes == tuple("0123456789")


def test_the_splits_of_a_large_data_set_are_written_without_holding_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8192, 32, 32, 3), dtype=np.uint8)
    parts = np.array_split(np.arange(8192), 2)
    splits = {"train": parts[0], "test": parts[1], "search_train": parts[0][::2]}
    splits["search_val"] = parts[0][1::2]
    labels = np.arange(8192) % 2
    datasets.save(datasets.assemble("x", pixels, labels, ("a", "b"), splits), tmp_path / "whole")
    whole = datasets.load(tmp_path / "whole")
    tracemalloc.start()
    datasets.save_splits(whole, ("train", "search_val"), tmp_path / "part")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < pixels.nbytes / 4
    part = datasets.load(tmp_path / "part")
    assert np.array_equal(part.images, pixels[:4096])
    assert set(part.splits) == {"train", "search_val"}


def test_the_digest_depends_on_pixels_labels_and_splits(digits):
    def digest(**changes: object) -> str:
        parts = {
            "name": "digits",
            "images": digits.images,
            "labels": digits.labels,
            "classes": digits.classes,
            "splits": digits.splits,
        }
        return datasets.assemble(**(parts | changes)).digest

    changed = digits.images.copy()
    changed[5, 3, 3, 0] ^= 1
    labels = digits.labels.copy()
    labels[0] += 1
    other = prepare(DataParams(), seed=1).splits
    digests = {digest(), digest(images=changed), digest(labels=labels), digest(splits=other)}
    assert len(digests) == 4
    assert digest() == digits.digest


def test_missing_data_names_the_file_and_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.json: cannot be read .*run the stage"):
        datasets.load(tmp_path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (DataParams(source="digit"), "did you mean digits"),
        (DataParams(path="somewhere"), "embedded"),
        (DataParams(image_size=9), "8x8"),
    ],
)
def test_bad_sources_are_refused(params, message):
    with pytest.raises(InputError, match=message):
        prepare(params, seed=0)


def test_normalised_training_pixels_have_mean_0_and_std_1(digits):
    images = Normalize(digits)(digits.split("train")[0])
    assert images.shape == (len(digits.splits["train"]), 1, 8, 8)
    assert images.dtype == torch.float32
    assert float(images.mean()) == pytest.approx(0, abs=1e-4)
    assert float(images.std()) == pytest.approx(1, abs=1e-3)


def test_an_epoch_shows_every_image_once_in_batches_of_nearly_equal_size(digits):
    batches = Batches(digits, "train", 100, seed=3, normalize=Normalize(digits))
    seeds_seen = []

    def augment(images, seed, places):
        assert len(images) == len(places)
        seeds_seen.append(seed)
        return images

    epoch = list(batches.epoch(0, augment))
    sizes = [len(labels) for _, labels, _ in epoch]
    assert max(sizes) <= 100
    assert max(sizes) - min(sizes) <= 1
    shown = torch.cat([images for images, *_ in epoch])
    expected = Normalize(digits)(digits.split("train")[0])
    assert torch.equal(shown.sum((1, 2, 3)).sort()[0], expected.sum((1, 2, 3)).sort()[0])
    assert len(set(seeds_seen)) == len(epoch)
    again = list(batches.epoch(0, augment))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(epoch, again, strict=True))
    assert not torch.equal(next(batches.epoch(1, augment))[1], epoch[0][1])


def _imbalanced() -> datasets.Dataset:
    labels = np.repeat(np.arange(3), [70, 20, 7]).astype(np.int64)
    # every pixel of an image is its own number, so that a batch tells which images it holds
    images = np.broadcast_to(np.arange(97, dtype=np.uint8)[:, None, None, None], (97, 2, 2, 1))
    splits = {name: np.arange(97) for name in datasets.SPLITS}
    made = datasets.assemble("x", images, labels, ("a", "b", "c"), splits)
    return replace(made, balance=True, mean=(0.0,), std=(1 / 255,))


def _shown(batches: Batches, epoch: int) -> np.ndarray:
    parts = [images[:, 0, 0, 0] for images, *_ in batches.epoch(epoch, lambda images, *_: images)]
    return torch.cat(parts).round().long().numpy()


def test_balanced_epochs_show_every_class_equally_and_in_time_every_image():
    data = _imbalanced()
    batches = Batches(data, "train", 10, seed=4, normalize=Normalize(data))
    times = np.zeros(97, int)
    for epoch in range(21):
        shown = _shown(batches, epoch)
        assert len(shown) == batches.images_per_epoch == 97
        assert np.ptp(np.bincount(data.labels[shown], minlength=3)) <= 1
        times += np.bincount(shown, minlength=97)
    for label in range(3):
        # dealt out pass after pass, across the epochs
        assert np.ptp(times[data.labels == label]) <= 1
    assert times.min() >= 9
    assert np.array_equal(_shown(batches, 3), _shown(batches, 3))
    assert not np.array_equal(_shown(batches, 3), _shown(batches, 4))


def test_images_that_stay_on_disk_give_the_same_batches(digits, tmp_path, monkeypatch):
    datasets.save(digits, tmp_path / "data")
    loaded = datasets.load(tmp_path / "data")
    normalize = Normalize(digits)
    held = Batches(digits, "train", 200, seed=1, normalize=normalize)
    monkeypatch.setattr("rolekd.data.batches._RESIDENT", 0)
    mapped = Batches(loaded, "train", 200, seed=1, normalize=normalize)
    for one, other in zip(
        held.epoch(2, lambda images, *_: images),
        mapped.epoch(2, lambda images, *_: images),
        strict=True,
    ):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_balance_survives_the_folder(tmp_path):
    datasets.save(_imbalanced(), tmp_path / "data")
    assert datasets.load(tmp_path / "data").balance
