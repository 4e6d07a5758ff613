import shutil

import data_files
import numpy as np
import pytest

from rolekd import files
from rolekd.params import DataParams
from rolekd.sources.prepare import QUALITY, prepare_folder


def _prepare(root, folder, **values):
    params = DataParams(source="image-folder", path=root, image_size=8, **values)
    return prepare_folder(params, 0, folder)


def test_a_clean_folder_has_nothing_to_tell(tmp_path):
    held, quality = _prepare(data_files.photos(tmp_path / "raw", count=30), tmp_path / "data")
    assert quality.warnings() == []
    assert quality.imbalance == 1
    assert quality.classes["cat"] == {
        name: int((held.labels[indices] == 0).sum()) for name, indices in held.splits.items()
    }
    assert files.read_json(tmp_path / "data" / QUALITY) == quality.to_json()


def test_copies_conflicts_and_imbalance_are_found(tmp_path):
    raw = data_files.photos(tmp_path / "raw", count=30)
    shutil.copy(
        raw / "cat/5.png" if (raw / "cat/5.png").exists() else raw / "cat/6.png",
        raw / "cat/again.png",
    )
    shutil.copy(raw / "cat/1.png", raw / "dog/not a cat.png")
    for number in range(300):
        data_files.photo(raw / "bird" / f"{number}.png", 5000 + number)
    (raw / "bird" / "notes.txt").write_text("a remark")
    (raw / "bird" / "README").write_text("a remark")
    data_files.photo(raw / "loose.PNG", 1)
    data_files.photo(raw / "loose.png", 2)
    held, quality = _prepare(raw, tmp_path / "data")
    assert quality.metrics() == {
        "duplicates": 2,
        "conflicting_duplicates": 1,
        "left_out": 0,
        "unreadable": 0,
        "left_out_share": round(4 / 366, 4),
        "enlarged": 0,
        "imbalance": round(300 / 31, 3),
        "small_classes": 0,
    }
    names = [
        sorted(name.rsplit("/", 1)[1] for name in group) for group in quality.duplicate_examples
    ]
    assert ["1.png", "not a cat.png"] in names
    assert quality.ignored == {".png": 2, ".txt": 1, "without a suffix": 1}
    assert next(iter(quality.ignored)) == ".png"
    assert (
        "4 files were left out, since they are not images by name or are outside the classes' "
        "folders: 2 .png, 1 without a suffix, 1 .txt" in quality.warnings()
    )
    groups = [{image.tobytes() for image in held.split(s)[0]} for s in ("train", "test")]
    assert not groups[0] & groups[1]


def test_training_images_that_are_in_the_test_split_are_left_out(tmp_path):
    raw = data_files.divided(tmp_path / "raw")
    shutil.copy(raw / "test/cat/3.png", raw / "train/cat/leak.png")
    held, quality = _prepare(raw, tmp_path / "data")
    assert quality.left_out == 1
    assert len(held.splits["test"]) == 2 * data_files.PER_CLASS
    assert len(held.splits["train"]) == 2 * data_files.PER_CLASS
    assert any("also are in the test split, or in" in line for line in quality.warnings())


@pytest.mark.parametrize("image", ["cat/1.png", "dog/3.bmp"])
def test_one_changed_image_changes_the_digest(tmp_path, image):
    raw = data_files.photos(tmp_path / "raw")
    before, _ = _prepare(raw, tmp_path / "data")
    data_files.photo(raw / image, 987)
    after, _ = _prepare(raw, tmp_path / "data")
    assert before.digest != after.digest
    assert (np.any(before.images != after.images, axis=(1, 2, 3))).sum() == 1


def test_what_is_left_out_is_loud_over_a_tenth(tmp_path):
    raw = data_files.photos(tmp_path / "raw", count=18)
    for number in range(4):
        (raw / "cat" / f"{number}.raw").write_text("of a camera")
    _, quality = _prepare(raw, tmp_path / "data")
    assert quality.left_out_share == 4 / 40
    assert quality.alarms() == []
    (raw / "cat/one more.raw").write_text("of a camera")
    _, quality = _prepare(raw, tmp_path / "data")
    assert quality.warnings()[0] == quality.alarms()[0]
    assert quality.alarms()[0].startswith("12 % of all files, 5, were left out; check")


def test_small_images_and_linked_folders_are_counted(tmp_path):
    raw = data_files.photos(tmp_path / "raw", count=30)
    for number in range(3):
        data_files.photo(raw / "cat" / f"small {number}.png", number, (7, 90))
    data_files.photos(tmp_path / "elsewhere", ("more",))
    (raw / "cat/more").symlink_to(tmp_path / "elsewhere/more")
    _, quality = _prepare(raw, tmp_path / "data")
    assert quality.images == 63
    assert quality.enlarged == quality.metrics()["enlarged"] == 3
    assert [name.rsplit("/", 1)[1] for name in quality.linked] == ["more"]
    assert "3 images are smaller than data.image_size and were enlarged" in quality.warnings()
    assert any("1 linked folders were not followed" in line for line in quality.warnings())


@pytest.mark.parametrize(
    ("splits", "link"),
    [
        ((), "fox"),
        (("train", "test"), "train/fox"),
        (("train", "test"), "fox"),
        (("train",), "val"),
        (("train",), "test"),
        (("train",), "test/fox"),
    ],
)
def test_links_to_folders_are_counted_and_not_followed(tmp_path, splits, link):
    raw, path = tmp_path / "raw", tmp_path / "raw" / link
    data_files.divided(raw, splits) if splits else data_files.photos(raw)
    data_files.photos(tmp_path / "elsewhere", ("more",))
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "elsewhere")
    _, quality = _prepare(raw, tmp_path / "data")
    assert quality.images == 2 * data_files.PER_CLASS * max(len(splits), 1)
    assert sorted(quality.classes) == ["cat", "dog"]
    assert quality.linked == [str(path)]
    assert any("1 linked folders were not followed" in line for line in quality.warnings())


def test_linked_validation_images_of_tiny_imagenet_are_not_followed(tmp_path):
    raw = data_files.tiny_imagenet(tmp_path / "raw")
    (raw / "val/images").rename(tmp_path / "elsewhere")
    (raw / "val/images").symlink_to(tmp_path / "elsewhere")
    _, quality = _prepare(raw, tmp_path / "data")
    assert quality.linked == [str(raw / "val/images")]
    assert quality.became.keys() == {"images"}
    assert quality.images == 2 * data_files.PER_CLASS


def test_data_path_may_be_a_link(tmp_path):
    data_files.photos(tmp_path / "elsewhere", count=30)
    (tmp_path / "raw").symlink_to(tmp_path / "elsewhere")
    _, quality = _prepare(tmp_path / "raw", tmp_path / "data")
    assert (quality.images, quality.linked) == (60, [])


def test_what_became_of_the_images_is_told(tmp_path):
    raw = data_files.photos(tmp_path / "raw", count=30)
    _, quality = _prepare(raw, tmp_path / "data")
    assert quality.fates() == ["images: 60 images, 48 to train on, 12 to test on"]
    raw = data_files.divided(tmp_path / "three", ("train", "val", "test"))
    shutil.copy(raw / "test/cat/3.png", raw / "val/cat/leak.png")
    shutil.copy(raw / "val/cat/1.png", raw / "train/cat/leak.png")
    _, quality = _prepare(raw, tmp_path / "data", training_images=20)
    copies = "left out as copies of images in a split that decides less"
    assert quality.fates() == [
        f"train: 25 images, 20 to train on, 1 {copies}, 4 not used (data.training_images)",
        f"val: 25 images, 24 to measure searches on, 1 {copies}",
        "test: 24 images, 24 to test on",
    ]
    assert quality.left_out == 2
