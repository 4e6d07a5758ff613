"""Tables of images as people have them: other separators, columns, folders and words."""

import data_files
import pytest

from rolekd.errors import InputError
from rolekd.params import DataParams
from rolekd.sources import open_source
from rolekd.sources.prepare import prepare_folder


def _params(folder, **table):
    return DataParams(source="csv", path=folder, image_size=8, table=table)


def _rewrite(root, change):
    path = root / "labels.csv"
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_separator_columns_and_file_are_named(tmp_path, delimiter):
    raw = data_files.table(tmp_path)
    before = open_source(_params(raw)).listing()
    _rewrite(raw, lambda text: text.replace(",", delimiter))
    _rewrite(raw, lambda text: text.replace(f"path{delimiter}label", f"Bild{delimiter}Klasse"))
    (raw / "labels.csv").rename(raw / "tabelle.csv")
    table = {"file": "tabelle.csv", "delimiter": delimiter, "path": "Bild", "label": "Klasse"}
    found = open_source(_params(raw, **table)).listing()
    assert found.names == before.names
    assert found.labels.tolist() == before.labels.tolist()
    assert found.test.tolist() == before.test.tolist()


@pytest.mark.parametrize("word", ["val", "valid", "Validation", " dev "])
def test_validation_rows_go_by_many_names(tmp_path, word):
    raw = data_files.table(tmp_path, parts=("train", word, "TESTING"))
    found = open_source(_params(raw)).listing()
    assert len(found.validation) == len(found.test) == data_files.PER_CLASS / 2


@pytest.mark.parametrize("way", ["root", "absolute"])
def test_images_may_lie_elsewhere_and_it_is_told(tmp_path, way):
    raw = data_files.table(tmp_path / "raw")
    (raw / "images").rename(tmp_path / "images")
    table = {"root": tmp_path} if way == "root" else {}
    if way == "absolute":
        _rewrite(raw, lambda text: text.replace("images/", f"{tmp_path}/images/"))
    held, quality = prepare_folder(_params(raw, **table), 0, tmp_path / "data")
    assert len(held.labels) == 3 * data_files.PER_CLASS
    assert quality.outside == 3 * data_files.PER_CLASS
    assert any("outside data.path, where DVC does not see changes" in x for x in quality.warnings())


@pytest.mark.parametrize("way", ["relative", "absolute"])
def test_a_table_elsewhere_is_counted(tmp_path, way):
    raw = data_files.table(tmp_path / "raw")
    (raw / "labels.csv").rename(tmp_path / "x.csv")
    file = "../x.csv" if way == "relative" else str(tmp_path / "x.csv")
    _, quality = prepare_folder(_params(raw, file=file), 0, tmp_path / "data")
    assert quality.outside == 1
    assert any("1 files that were read are outside data.path" in x for x in quality.warnings())


def test_a_root_is_compared_without_detours(tmp_path):
    raw = data_files.table(tmp_path / "raw")
    around = raw / ".." / "raw"
    assert open_source(_params(raw, root=around)).listing().outside == 0
    (raw / "images").rename(tmp_path / "images")
    assert open_source(_params(raw, root=raw / "..")).listing().outside == 3 * data_files.PER_CLASS


def test_absolute_paths_into_the_folder_are_its_own(tmp_path):
    raw = data_files.table(tmp_path)
    _rewrite(raw, lambda text: text.replace("images/", f"{tmp_path}/images/"))
    assert open_source(_params(raw)).listing().outside == 0


def test_a_root_that_is_none_is_told(tmp_path):
    with pytest.raises(InputError, match=r"data\.table\.root: .*nowhere is not a folder; "):
        open_source(_params(data_files.table(tmp_path), root=tmp_path / "nowhere"))


def test_all_faulty_rows_are_told_at_once(tmp_path):
    raw = data_files.table(tmp_path)
    _rewrite(raw, lambda text: text.replace(",test", ",exam"))
    with pytest.raises(InputError, match=r"12 faulty rows: line 4: .* \| line 7: .* and 2 more"):
        open_source(_params(raw)).listing()


@pytest.mark.parametrize("name", ["Split", " split", "SPLIT "])
def test_a_column_that_is_almost_called_split_is_refused(tmp_path, name):
    raw = data_files.table(tmp_path)
    _rewrite(raw, lambda text: text.replace("path,label,split", f"path,label,{name}"))
    with pytest.raises(InputError, match=r"no column 'split', but .*; name .* data\.table\.split$"):
        open_source(_params(raw)).listing()
    assert open_source(_params(raw, split=name)).listing().test is not None


def test_a_named_column_of_splits_is_required(tmp_path):
    raw = data_files.table(tmp_path, split=False)
    assert open_source(_params(raw)).listing().test is None
    with pytest.raises(
        InputError, match=r"no column 'part', but 'path', 'label'; .*data\.table\.split$"
    ):
        open_source(_params(raw, split="part")).listing()


def test_columns_that_are_not_read_are_named(tmp_path):
    raw = data_files.table(tmp_path / "raw")
    _, quality = prepare_folder(_params(raw), 0, tmp_path / "data")
    assert quality.unread == []
    assert not any("columns" in line for line in quality.warnings())
    _rewrite(raw, lambda text: text.replace(",split\n", ",part\n"))
    _, quality = prepare_folder(_params(raw), 0, tmp_path / "data")
    assert "columns of the table that were not read: 'part'" in quality.warnings()
