import gzip
import os
import pickle
import resource
import struct
import subprocess
import sys
import unicodedata
import zlib
from pathlib import Path
from types import SimpleNamespace

import data_files
import numpy as np
import pytest
from PIL import Image

from rolekd.data import dataset as datasets
from rolekd.errors import InputError
from rolekd.params import DataParams
from rolekd.sources.prepare import prepare, prepare_folder


def _folder(root: Path, **values: object) -> DataParams:
    return DataParams(source="image-folder", path=root, image_size=8, **values)


def _fails(params: DataParams, *texts: str) -> None:
    """Preparing is one line that holds all of `texts`."""
    with pytest.raises(InputError) as caught:
        prepare(params, 0)
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message, "no remedy"
    for text in texts:
        assert text in message


def _bomb(path: Path) -> None:
    """A PNG of 65,500 x 65,500 pixels in some kilobytes: only its header is ever looked at."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content).to_bytes(4)
        return len(content).to_bytes(4) + kind + content + check

    side = (65_500).to_bytes(4)
    rows = zlib.compress(bytes(1_000_000))
    header = chunk(b"IHDR", side + side + b"\x08\x00\x00\x00\x00")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def _break(root: Path) -> dict[str, str]:
    """Put broken images into a folder of photos; return file -> reason."""
    cat = root / "cat"
    whole = (cat / "0.jpg").read_bytes()
    (cat / "cut.jpg").write_bytes(whole[:-40])
    (cat / "text.png").write_text("no image at all")
    (cat / "empty.webp").write_bytes(b"")
    _bomb(cat / "bomb.png")
    Image.new("RGB", (9, 9)).save(cat / "really.ppm.png", format="PPM")
    return {
        "cut.jpg": "truncated",
        "text.png": "is not a JPEG",
        "empty.webp": "is not a JPEG",
        "bomb.png": "has more than 40,000,000 pixels; scale it down",
        "really.ppm.png": "is not a JPEG",
    }


def test_broken_images_are_listed_each_with_its_reason(tmp_path):
    reasons = _break(data_files.photos(tmp_path))
    _fails(_folder(tmp_path), "5 unreadable images", "on_error: skip", *reasons, *reasons.values())


def test_broken_images_are_left_out_on_request_and_reported(tmp_path):
    clean = prepare(_folder(data_files.photos(tmp_path / "raw")), 0)
    reasons = _break(tmp_path / "raw")
    held, quality = prepare_folder(_folder(tmp_path / "raw", on_error="skip"), 0, tmp_path / "data")
    assert held.digest == clean.digest
    assert np.array_equal(held.images, clean.images)
    assert {Path(name).name for name in quality.unreadable} == set(reasons)
    assert quality.metrics()["unreadable"] == 5
    assert quality.warnings() == [
        "17 % of all files, 5, were left out; check whether your images are among them",
        "unreadable images that were left out: 5",
        "fewer than 20 images to train on in class cat, dog",
    ]


def test_more_than_ten_broken_images_are_counted(tmp_path):
    data_files.photos(tmp_path)
    for number in range(14):
        (tmp_path / "dog" / f"bad {number}.png").write_text("")
    _fails(_folder(tmp_path), "14 unreadable images", "and 4 more")


def test_broken_test_images_leave_the_split_right(tmp_path):
    data_files.divided(tmp_path)
    (tmp_path / "train/cat/0.png").write_text("")
    (tmp_path / "test/dog/5.png").write_text("")
    clean = prepare(_folder(tmp_path, on_error="skip"), 0)
    assert len(clean.splits["train"]) == 2 * data_files.PER_CLASS - 1
    assert len(clean.splits["test"]) == 2 * data_files.PER_CLASS - 1
    assert clean.splits["test"].min() == 2 * data_files.PER_CLASS - 1


def test_parallel_decoding_tells_the_same(tmp_path):
    from rolekd.sources.decode import blocks

    data_files.photos(tmp_path, count=70)
    _break(tmp_path)
    paths = sorted(tmp_path.rglob("*.*"))
    alone, together = (list(blocks(paths, 8, 3, workers)) for workers in (1, 2))
    assert len(alone) > 1
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one[0], other[0])
        assert one[1] == other[1]


@pytest.mark.parametrize("name", ["two words", "größe 猫", "dollar$ & 'quote'"])
def test_unusual_class_names_are_kept(tmp_path, name):
    held = prepare(_folder(data_files.photos(tmp_path / "raw", (name, "z"))), 0)
    assert held.classes == (name, "z")
    datasets.save(held, tmp_path / "data")
    assert datasets.load(tmp_path / "data").classes == (name, "z")


_COMPOSED = "größe"
_DECOMPOSED = unicodedata.normalize("NFD", _COMPOSED)


def _two_spellings(source: str, root: Path) -> None:
    """Write images of the class `_COMPOSED` whose name is also, or only, decomposed."""
    if source == "csv":
        table = data_files.table(root) / "labels.csv"
        rows = table.read_text().replace(",a,train", f",{_COMPOSED},train")
        table.write_text(rows.replace(",a,", f",{_DECOMPOSED},"))
    elif source == "idx":
        data_files.idx(root)
        (root / "names.txt").write_text("\n".join([_DECOMPOSED, *"bcdefghij"]))
    elif source == "image-folder":
        data_files.divided(root, ("train", "test"))
        for part, name in (("train", _COMPOSED), ("test", _DECOMPOSED)):
            (root / part / "cat").rename(root / part / name)
    else:
        table = data_files.tiny_imagenet(root) / "val/val_annotations.txt"
        (root / "train/n01443537").rename(root / "train" / _COMPOSED)
        table.write_text(table.read_text().replace("n01443537", _DECOMPOSED))


@pytest.mark.parametrize("source", ["csv", "idx", "image-folder", "tiny imagenet"])
def test_composed_and_decomposed_accents_are_one_name(tmp_path, source):
    _two_spellings(source, tmp_path)
    if source == "idx":
        params = DataParams(source=source, path=tmp_path, idx={"classes": "names.txt"})
    else:
        source = "csv" if source == "csv" else "image-folder"
        params = DataParams(source=source, path=tmp_path, image_size=8)
    classes = prepare(params, 0).classes
    assert _COMPOSED in classes
    assert _DECOMPOSED not in classes


def test_two_folders_of_one_name_are_refused(tmp_path):
    _fails(
        _folder(data_files.photos(tmp_path, (_COMPOSED, _DECOMPOSED))),
        "another folder has the same name; join them",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [("x" * 200, "has 200 characters"), ("tab\there", "unprintable"), ("back\\slash", "slash")],
)
def test_unusable_class_names_are_refused(tmp_path, name, text):
    _fails(_folder(data_files.photos(tmp_path, (name, "z"))), text)


def test_a_class_name_that_is_not_a_text_is_refused(tmp_path):
    data_files.photos(tmp_path)
    (tmp_path / "cat").rename(os.fsdecode(os.fsencode(tmp_path) + b"/c\xe4t"))
    _fails(_folder(tmp_path), "unprintable")


def test_a_file_name_that_is_not_a_text_is_shown_escaped(tmp_path):
    data_files.photos(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/cat/b\xe4d.png")).write_text("")
    _, quality = prepare_folder(_folder(tmp_path, on_error="skip"), 0, tmp_path / "data")
    assert next(iter(quality.unreadable)).endswith("b\\udce4d.png")


def test_folders_without_what_they_need_are_refused(tmp_path):
    data_files.photos(tmp_path / "empty")
    (tmp_path / "empty" / "bird").mkdir()
    (tmp_path / "empty" / "bird" / "notes.txt").write_text("none yet")
    _fails(_folder(tmp_path / "empty"), "bird: holds no JPEG")
    _fails(_folder(data_files.photos(tmp_path / "one", ("cat",))), "only one class")
    data_files.photo(tmp_path / "flat" / "1.png", 1)
    _fails(_folder(tmp_path / "flat"), "flat: contains no folders")
    _fails(_folder(data_files.photos(tmp_path / "few", count=4)), "fewer than 5", "cat (4)")
    _fails(DataParams(source="image-folder", path=tmp_path), "data.image_size")


def test_train_and_test_of_different_classes_are_refused(tmp_path):
    data_files.divided(tmp_path)
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "hog")
    _fails(
        _folder(tmp_path),
        "test: its classes differ from those of train",
        "only here: hog",
        "dog only in",
    )


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "dev", "Testing")])
def test_validation_images_are_those_of_the_search(tmp_path, names):
    raw = data_files.divided(tmp_path / "raw", names)
    held, quality = prepare_folder(_folder(raw), 0, tmp_path / "data")
    part = 2 * data_files.PER_CLASS
    assert [len(held.splits[s]) for s in ("train", "search_train", "search_val", "test")] == [
        part
    ] * 4
    assert quality.fates() == [
        "train: 24 images, 24 to train on",
        "val: 24 images, 24 to measure searches on",
        "test: 24 images, 24 to test on",
    ]
    _fails(_folder(raw, validation="test"), "data.validation: test, but the data have test images")


def test_validation_images_may_be_the_test_split_where_there_is_no_other(tmp_path):
    raw = data_files.divided(tmp_path / "raw", ("train", "val"))
    kept, quality = prepare_folder(_folder(raw), 0, tmp_path / "data")
    part = 2 * data_files.PER_CLASS
    assert len(kept.splits["search_val"]) == part
    assert len(kept.splits["train"]) + len(kept.splits["test"]) == part
    assert any("data.validation: test takes" in line for line in quality.warnings())
    tested, quality = prepare_folder(_folder(raw, validation="test"), 0, tmp_path / "data")
    assert quality.fates()[1] == "val: 24 images, 24 to test on"
    assert not any("no test split" in line for line in quality.warnings())
    assert (len(tested.splits["train"]), len(tested.splits["test"])) == (part, part)
    _fails(
        _folder(data_files.photos(tmp_path / "none"), validation="test"),
        "data.validation: test, but the data have no validation images",
    )


def test_a_class_that_a_held_out_split_lacks_is_noted(tmp_path):
    raw = data_files.divided(tmp_path / "raw", ("train", "val", "test"))
    (raw / "val/dog").rename(tmp_path / "dogs")
    _, quality = prepare_folder(_folder(raw), 0, tmp_path / "data")
    assert any("cannot be measured there: dog (search_val)" in x for x in quality.warnings())


@pytest.mark.parametrize("names", [("test", "val"), ("valid", "Testing")])
def test_folders_of_splits_are_not_classes(tmp_path, names):
    data_files.divided(tmp_path, names)
    _fails(_folder(tmp_path), "which are not classes; name them train, test and val")


def test_what_lies_beside_the_splits_is_not_lost_in_silence(tmp_path):
    data_files.divided(tmp_path, ("train", "test", "holdout"))
    _fails(_folder(tmp_path), "only train, test and val are read, not holdout")
    data_files.divided(tmp_path / "twice", ("train", "val", "valid"))
    _fails(_folder(tmp_path / "twice"), "val and valid are both val; join them")


def test_errors_name_the_links_that_explain_them(tmp_path):
    told = "links to folders are not followed:"
    data_files.divided(tmp_path / "raw")
    (tmp_path / "raw/train").rename(tmp_path / "elsewhere")
    (tmp_path / "raw/train").symlink_to(tmp_path / "elsewhere")
    _fails(_folder(tmp_path / "raw"), "holds test, which are not", told, "raw/train")
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/cat").symlink_to(tmp_path / "elsewhere/cat")
    _fails(_folder(tmp_path / "alone"), "contains no folders", told, "alone/cat")
    raw = data_files.divided(tmp_path / "lacking")
    (raw / "train/cat").rename(tmp_path / "cats")
    (raw / "train/cat").symlink_to(tmp_path / "cats")
    _fails(_folder(raw), "only here: cat", told, "train/cat")
    data_files.photos(tmp_path / "one/x", count=3)
    (tmp_path / "one/train").symlink_to(tmp_path / "one/x")
    _fails(_folder(tmp_path / "one"), "data: only one class, x", told, "one/train")
    (tmp_path / "raw/train").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "raw/train")
    (tmp_path / "raw/test").rename(tmp_path / "tests")
    (tmp_path / "raw/val").symlink_to(tmp_path / "tests")
    _fails(_folder(tmp_path / "raw", validation="test"), "no validation images", told, "raw/val")
    raw = data_files.photos(tmp_path / "few", count=4)
    (raw / "cat/more").symlink_to(tmp_path / "cats")
    _fails(_folder(raw), "fewer than 5 images in class cat (4)", told, "cat/more")


def test_tiny_imagenet_is_read_as_it_is_unpacked(tmp_path):
    raw = data_files.tiny_imagenet(tmp_path / "raw")
    held, quality = prepare_folder(_folder(raw), 0, tmp_path / "data")
    assert held.classes == ("n01443537", "n01629819")
    assert len(held.splits["search_val"]) == 2 * data_files.PER_CLASS
    # by the annotations, not by the order of the files
    labels = held.labels[held.splits["search_val"]]
    assert np.bincount(labels).tolist() == [data_files.PER_CLASS] * 2
    assert quality.ignored == {".jpeg": 2 * data_files.PER_CLASS, ".txt": 2}
    annotations = raw / "val/val_annotations.txt"
    annotations.write_text(annotations.read_text() + "no tab\n../up.JPEG\tn01443537\n")
    _fails(_folder(raw), "val_annotations.txt: line 25, line 26: not the name")
    annotations.write_text("")
    _fails(_folder(raw), "val_annotations.txt: is empty; download it again")
    twice = "val_0.JPEG\tn01443537\nval_1.JPEG\tn01629819\n"
    annotations.write_text(twice + twice.replace("n01443537", "n01629819"))
    _fails(_folder(raw), "val_annotations.txt: more than one line for val_0.JPEG, val_1.JPEG; keep")
    annotations.write_text("val_0.JPEG\tn99999999\n")
    _fails(_folder(raw), "differ from those of train; only here: n99999999")


def test_a_class_may_be_called_train(tmp_path):
    held = prepare(_folder(data_files.photos(tmp_path, ("car", "train"))), 0)
    assert held.classes == ("car", "train")


def _csv(root: Path, *lines: str) -> DataParams:
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return DataParams(source="csv", path=root, image_size=8)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["file,label", "a.png,x"], "has no column 'path'"),
        (["path,label", "../a.png,x"], "line 2: path '../a.png' is not inside"),
        (["path,label", "/a.png,x", ",x"], "line 3: path '' is not inside"),
        (["path,label", "a.png,"], "line 2: a class has no name"),
        (["path,label", "a.png,../x"], "slash"),
        (["path,label", "a.png," + "x" * 300], "300 characters"),
        (["path,label,split", "a.png,x,exam"], "split 'exam'"),
        (["path,label"], "has no rows"),
        (["", "path,label"], "labels.csv: its first line is empty; write 'path,label' there"),
        (["path,label", '"a.png,x'], "cannot be read"),
        (["path,label,split", "a.png,x,train", "a.png,y,test"], "no training image in class y"),
        (["path;label", "a.png;x"], "set data.table.delimiter to ';'"),
        (
            ["file,label", "a.png,x"],
            "has no column 'path', but 'file', 'label'; name the right ones in",
        ),
        (
            ["path,label,split", "../a,x,train", "a,x,train", "a,,train", "a,x,exam"],
            "3 faulty rows: line 2: path",
        ),
        (
            ["path,label", "a.png,cat, black", "b.png,cat", "c.png,", "d.png,cat,"],
            "3 faulty rows: line 2: more fields than the header; quote the one with ',' in it | "
            "line 4: a class has no name; name it | line 5: more fields",
        ),
    ],
)
def test_wrong_tables_are_refused_by_line(tmp_path, lines, text):
    _fails(_csv(tmp_path, *lines), "labels.csv", text)


def test_an_image_that_the_table_names_and_the_folder_lacks_is_told(tmp_path):
    params = DataParams(source="csv", path=data_files.table(tmp_path), image_size=8)
    (tmp_path / "images/3.png").unlink()
    _fails(params, "images/3.png (No such file or directory)")
    (tmp_path / "labels.csv").unlink()
    _fails(params, "labels.csv: no such file; write the table there, or name it in data.table.file")
    (tmp_path / "labels.csv").mkdir()
    _fails(params, "labels.csv: cannot be read (Is a directory); check the file that data.table.fi")
    (tmp_path / "labels.csv").rmdir()
    (tmp_path / "labels.csv").touch()
    _fails(params, "labels.csv: is empty; write 'path,label' there, then a line for each image")
    (tmp_path / "labels.csv").write_bytes(b"path,label\n\xff\xfe,x\n")
    _fails(params, "UTF-8")


class _Harm:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("harm-was-done",)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_code_does_not(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    data_files.cifar(tmp_path, "cifar10", pickled=True)
    path = tmp_path / "cifar-10-batches-py/data_batch_2"
    path.write_bytes(pickle.dumps({"data": _Harm(), "labels": []}, protocol))
    _fails(DataParams(source="cifar10", path=tmp_path), str(path), ".mkdir", "official archive")
    assert not (tmp_path / "harm-was-done").exists()


@pytest.mark.parametrize("key", ["data", "labels"])
@pytest.mark.parametrize("value", [np.zeros(7), [], "text", None, [[1], [2, 3]]])
def test_pickles_of_something_else_are_refused(tmp_path, key, value):
    data_files.cifar(tmp_path, "cifar10", pickled=True)
    path = tmp_path / "cifar-10-batches-py/data_batch_1"
    content = {"data": data_files.pixels(2, 3072), "labels": [0, 1], key: value}
    path.write_bytes(pickle.dumps(content, 2))
    _fails(DataParams(source="cifar10", path=tmp_path), "data_batch_1")


@pytest.mark.parametrize("kept", [0, 1, 100, 5000])
@pytest.mark.parametrize("pickled", [True, False])
def test_cut_files_of_cifar_are_refused(tmp_path, pickled, kept):
    data_files.cifar(tmp_path, "cifar100", pickled)
    path = next(tmp_path.rglob("train*"))
    path.write_bytes(path.read_bytes()[:kept])
    _fails(DataParams(source="cifar100", path=tmp_path), path.name, "download it again")


def test_labels_out_of_range_are_refused(tmp_path):
    data_files.cifar(tmp_path, "cifar10", pickled=False)
    path = tmp_path / "cifar-10-batches-bin/data_batch_3.bin"
    content = bytearray(path.read_bytes())
    content[3073 * 4] = 77
    path.write_bytes(content)
    _fails(DataParams(source="cifar10", path=tmp_path), "data_batch_3.bin[4]: label 77", "range")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("kept", "message"),
    [(0, "is empty"), (3, "ends within its header"), (4, "ends within"), (7, "ends within")],
)
@pytest.mark.parametrize("part", ["train-images", "t10k-labels"])
def test_idx_files_without_a_whole_header_are_refused(tmp_path, part, kept, message, packed):
    data_files.idx(tmp_path, packed)
    path = next(tmp_path.glob(f"{part}*"))
    content = path.read_bytes()
    path.write_bytes(gzip.compress(gzip.decompress(content)[:kept]) if packed else content[:kept])
    _fails(DataParams(source="idx", path=tmp_path), f"{path}: {message}", "download it again")


@pytest.mark.parametrize("change", ["cut", "long", "kind", "text"])
@pytest.mark.parametrize("packed", [True, False])
def test_damaged_idx_files_are_refused(tmp_path, change, packed):
    data_files.idx(tmp_path, packed)
    path = next(tmp_path.glob("train-images*"))
    content = path.read_bytes()
    plain = gzip.decompress(content) if packed else content
    changed = {
        "cut": content[:-100],
        "long": gzip.compress(plain + b"x") if packed else plain + b"x",
        "kind": gzip.compress(b"\0\0\x0d" + plain[3:]) if packed else b"\0\0\x0d" + plain[3:],
        "text": b"<html>not found</html>",
    }
    path.write_bytes(changed[change])
    _fails(DataParams(source="idx", path=tmp_path), path.name, "download it again")


def test_fewer_labels_than_images_are_refused(tmp_path):
    data_files.idx(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a").iterdir():
        source = path if "labels" in path.name else path.with_name("train-images-idx3-ubyte.gz")
        (tmp_path / "b" / path.name).write_bytes(source.read_bytes())
    _fails(
        DataParams(source="idx", path=tmp_path / "b"),
        "t10k-labels-idx1-ubyte.gz: 30 labels for the 120 images of t10k-images-idx3-ubyte.gz",
    )


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path):
    data_files.photos(tmp_path / "raw", count=60)
    held, _ = prepare_folder(_folder(tmp_path / "raw"), 0, tmp_path / "data")
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from rolekd.sources.prepare import prepare_folder\n"
        "from rolekd.params import DataParams\n"
        "from rolekd.errors import RunError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))\n"
        "params = DataParams(source='image-folder', path=sys.argv[1], image_size=32)\n"
        "try:\n"
        "    prepare_folder(params, 0, Path(sys.argv[2]))\n"
        "except RunError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "raw", tmp_path / "data"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "writing the images failed (File too large); free some space" in done.stdout, done.stderr
    assert datasets.load(tmp_path / "data").digest == held.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "raw"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 8192


@pytest.mark.timeout(60)
def test_pipes_and_devices_among_the_images_cost_a_line_each(tmp_path):
    clean = prepare(_folder(data_files.photos(tmp_path / "raw")), 0)
    os.mkfifo(tmp_path / "raw/cat/pipe.png")
    (tmp_path / "raw/dog/device.jpg").symlink_to("/dev/zero")
    _fails(_folder(tmp_path / "raw"), "2 unreadable images", "pipe.png (is a pipe", "device.jpg (")
    held, quality = prepare_folder(_folder(tmp_path / "raw", on_error="skip"), 0, tmp_path / "data")
    assert held.digest == clean.digest
    assert len(quality.unreadable) == 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize("source", ["csv", "cifar10", "cifar100", "idx"])
def test_pipes_in_the_place_of_files_are_refused(tmp_path, source):
    make = {
        "csv": data_files.table,
        "idx": lambda root: data_files.idx(root, packed=False),
        "cifar10": lambda root: data_files.cifar(root, "cifar10", pickled=False),
        "cifar100": lambda root: data_files.cifar(root, "cifar100", pickled=True),
    }[source]
    make(tmp_path)
    for pattern in ("labels.csv", "train-labels*", "data_batch_3*", "meta", "train"):
        for path in tmp_path.rglob(pattern):
            path.unlink()
            os.mkfifo(path)
    params = DataParams(source=source, path=tmp_path, image_size=8 if source == "csv" else None)
    with pytest.raises(InputError, match=r"cannot be read \(.*not a regular file|cannot be read"):
        prepare(params, 0)


def test_an_idx_header_of_any_size_takes_no_memory(tmp_path):
    data_files.idx(tmp_path, packed=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3) + bytes(100))
    _fails(DataParams(source="idx", path=tmp_path), "79,228,162,458", "download it again")


@pytest.mark.parametrize("name", ["x" * 300, "zero\0byte"])
def test_a_folder_that_cannot_be_is_refused(tmp_path, name):
    _fails(_folder(tmp_path / name), "does not exist")


def test_an_array_that_claims_more_than_its_file_has_is_refused(tmp_path):
    prepare_folder(_folder(data_files.photos(tmp_path / "raw")), 0, tmp_path / "data")
    path = tmp_path / "data/labels.npy"
    path.write_bytes(path.read_bytes().replace(b"(24,), }", b"(10000000000000,), }"))
    with pytest.raises(InputError, match=r"labels\.npy: cannot be read"):
        datasets.load(tmp_path / "data")


def test_as_many_processes_as_memory_holds_decode(monkeypatch):
    import psutil

    from rolekd.sources import decode, images

    for free, cores, expected in ((0, 8, 1), (3.5, 8, 3), (64, 8, 8)):
        memory = SimpleNamespace(available=int(free * images.PEAK_BYTES))
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: range(cores))
        assert decode._processes() == expected
