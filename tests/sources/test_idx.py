"""Files of MNIST's format: which belong together, what their classes are called."""

import gzip
import shutil
import struct

import data_files
import numpy as np
import pytest

from rolekd.errors import InputError
from rolekd.params import DataParams
from rolekd.sources import open_source
from rolekd.sources.prepare import prepare


def _params(root, source="idx", **values):
    return DataParams(source=source, path=root, idx=values)


def test_classes_are_the_numbers_that_occur(tmp_path):
    held = prepare(_params(data_files.idx(tmp_path / "digits")), 0)
    assert held.classes == tuple("0123456789")
    assert held.name == "digits"
    letters = data_files.idx(tmp_path / "letters", prefix="emnist-letters-", first=1)
    found = open_source(_params(letters)).listing()
    assert found.classes == tuple(str(number) for number in range(1, 11))
    assert found.labels[:3].tolist() == [0, 1, 2]


def test_classes_may_be_in_a_file(tmp_path):
    data_files.idx(tmp_path)
    (tmp_path / "names.txt").write_text("\n".join(f"name {i}" for i in range(10)) + "\n")
    found = open_source(_params(tmp_path, classes="names.txt")).listing()
    assert found.classes == tuple(f"name {i}" for i in range(10))
    with (tmp_path / "names.txt").open("a") as file:
        file.write("\n \n")
    assert open_source(_params(tmp_path, classes="names.txt")).listing().classes == found.classes
    assert found.outside == 0
    (tmp_path / "names.txt").rename(tmp_path.parent / "names.txt")
    assert open_source(_params(tmp_path, classes="../names.txt")).listing().outside == 1
    # EMNIST's: the label, then the codes of its characters
    (tmp_path / "mapping.txt").write_text("".join(f"{i} {65 + i} {97 + i}\n" for i in range(10)))
    found = open_source(_params(tmp_path, classes="mapping.txt")).listing()
    assert found.classes[:2] == ("Aa", "Bb")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\n", "has no name for label 2, 3"),
        ("a\n" * 10, "two labels have the same name"),
        ("a/b\n" * 10, "holds a slash"),
        ("a\n\nb\n" + "c\n" * 8, "label 1: a class has no name"),
        ("\na\nb\n" + "c\n" * 8, "label 0: a class has no name"),
        ("0 65\n\n1 66\n", "label 1: a class has no name"),
        ("\udcff", "cannot be read"),
    ],
)
def test_faulty_files_of_classes_are_told(tmp_path, text, message):
    data_files.idx(tmp_path)
    (tmp_path / "names.txt").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=rf"names\.txt.*{message}.*; "):
        open_source(_params(tmp_path, classes="names.txt")).listing()


def test_files_that_are_not_there_are_told(tmp_path):
    data_files.idx(tmp_path)
    message = (
        r"names\.txt: cannot be read \(No such .*\); name the right file in data\.idx\.classes"
    )
    with pytest.raises(InputError, match=message):
        open_source(_params(tmp_path, classes="names.txt")).listing()
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        InputError, match=r"t10k-labels-idx1-ubyte\.gz: cannot be read \(No such fi"
    ):
        open_source(_params(tmp_path)).listing()


def test_one_of_several_sets_is_named(tmp_path):
    data_files.idx(tmp_path, prefix="emnist-letters-", first=1)
    data_files.idx(tmp_path, prefix="emnist-digits-")
    with pytest.raises(InputError, match=r"data\.idx\.prefix: .*'emnist-digits-', 'emnist-le"):
        open_source(_params(tmp_path))
    found = open_source(_params(tmp_path, prefix="emnist-digits-")).listing()
    assert found.classes[0] == "0"
    with pytest.raises(InputError, match=r"data\.idx\.prefix"):
        open_source(_params(tmp_path, prefix="emnist"))


@pytest.mark.parametrize("word", ["t10k", "test", "val"])
@pytest.mark.parametrize("prefix", [None, "emnist-letters-"])
def test_a_set_with_a_prefix_keeps_its_own_splits(tmp_path, word, prefix):
    data_files.idx(tmp_path, prefix="emnist-letters-", first=1)
    if prefix is not None:
        data_files.idx(tmp_path, prefix="emnist-digits-")
    for path in list(tmp_path.glob("*t10k*")):
        path.rename(tmp_path / path.name.replace("t10k", word))
    found = open_source(_params(tmp_path, prefix=prefix)).listing()
    own, other = found.test, found.validation
    if word == "val":
        own, other = other, own
    assert own.tolist() == list(range(120, 150))
    assert other is None
    assert found.names[-1] == f"emnist-letters-{word}[29]"


def test_emnists_columns_become_rows(tmp_path):
    plain, turned = tmp_path / "a", tmp_path / "b"
    data_files.idx(plain)
    data_files.idx(turned, prefix="emnist-letters-")
    first, second = (next(open_source(_params(root)).blocks()).images for root in (plain, turned))
    assert np.array_equal(first.transpose(0, 2, 1, 3), second)


def test_other_names_of_the_same_files(tmp_path):
    data_files.idx(tmp_path, packed=False)
    for path in list(tmp_path.iterdir()):
        name = path.name.replace("-idx", ".idx").replace("t10k", "test")
        path.rename(tmp_path / name)
    held = prepare(_params(tmp_path), 0)
    assert len(held.splits["test"]) == 30


@pytest.mark.parametrize("prefix", ["", "emnist-letters-"])
def test_two_files_of_one_split_are_refused(tmp_path, prefix):
    data_files.idx(tmp_path, prefix=prefix)
    shutil.copy(
        tmp_path / f"{prefix}t10k-images-idx3-ubyte.gz",
        tmp_path / f"{prefix}test-images-idx3-ubyte",
    )
    with pytest.raises(
        InputError,
        match=rf"{tmp_path}: {prefix}t10k-images-\S+ and {prefix}test-images-\S+ are both test; ",
    ):
        open_source(_params(tmp_path))


def test_a_plain_file_goes_before_a_packed_one(tmp_path):
    data_files.idx(tmp_path)
    data_files.idx(tmp_path, packed=False)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"")
    assert len(open_source(_params(tmp_path)).listing().test) == 30


def test_other_sizes_are_read_and_mixed_ones_refused(tmp_path):
    data_files.idx(tmp_path, packed=False)
    for part, count in (("train", 120), ("t10k", 30)):
        path = tmp_path / f"{part}-images-idx3-ubyte"
        pixels = data_files.pixels(count, 12, 12)
        path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, *pixels.shape) + pixels.tobytes())
    assert open_source(_params(tmp_path)).shape() == (12, 12, 1)
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 30, 12, 14) + bytes(30 * 12 * 14))
    with pytest.raises(InputError, match=r"t10k-images.*: its images are 14x12; all must be sq"):
        open_source(_params(tmp_path))


@pytest.mark.parametrize(("side", "accepted"), [(256, True), (257, False)])
def test_images_larger_than_any_network_takes_are_refused(tmp_path, side, accepted):
    data_files.idx(tmp_path, packed=False)
    for part, count in (("train", 120), ("t10k", 30)):
        header = struct.pack(">HBB3I", 0, 8, 3, count, side, side)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(header)
    if accepted:
        assert open_source(_params(tmp_path)).shape() == (side, side, 1)
        return
    with pytest.raises(
        InputError, match=rf"{tmp_path}: its images are 257x257, more than 256x256; scale them"
    ):
        open_source(_params(tmp_path))


@pytest.mark.parametrize("part", ["train", "t10k"])
@pytest.mark.parametrize("sizes", [(0, 28, 28), (5, 0, 0)])
def test_files_without_images_are_refused(tmp_path, part, sizes):
    data_files.idx(tmp_path, packed=False)
    path = tmp_path / f"{part}-images-idx3-ubyte"
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, *sizes))
    with pytest.raises(InputError, match=rf"{path}: holds no images; download it again, or remo"):
        open_source(_params(tmp_path))


def test_the_training_files_are_needed(tmp_path):
    data_files.idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(InputError, match="no train-images-idx3-ubyte"):
        open_source(_params(tmp_path))


def test_fashion_mnist_takes_no_other_files(tmp_path):
    data_files.idx(tmp_path)
    with pytest.raises(
        InputError, match=r"is not Fashion-MNIST's.*; data\.source: idx reads other"
    ):
        prepare(_params(tmp_path, source="fashion-mnist"), 0)


def test_a_bomb_of_gzip_is_read_to_its_promise_and_no_further(tmp_path):
    data_files.idx(tmp_path)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBBI", 0, 8, 1, 120) + bytes(10**7)))
    with pytest.raises(InputError, match="holds more than its header says"):
        open_source(_params(tmp_path)).listing()
