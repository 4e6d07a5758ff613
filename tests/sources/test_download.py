import http.server
import io
import tarfile
import threading
from functools import partial

import data_files
import pytest

from rolekd import files
from rolekd.errors import InputError, RunError
from rolekd.params import DataParams
from rolekd.sources import download as downloads
from rolekd.sources.formats.idx import FashionMnist
from rolekd.sources.prepare import prepare


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def served(tmp_path):
    """A folder, and the address at which a server on loopback gives its files."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def _expect(monkeypatch, name, paths):
    expected = tuple(downloads._File(path.name, files.sha256(path)) for path in paths)
    monkeypatch.setitem(downloads._FILES, name, expected)


def test_an_archive_is_fetched_checked_and_readable(served, tmp_path, monkeypatch):
    folder, address = served
    data_files.cifar(tmp_path, "cifar10", pickled=True)
    archive = folder / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    _expect(monkeypatch, "cifar10", [archive])
    monkeypatch.setattr("torchvision.datasets.CIFAR10.url", address + archive.name)
    downloads.download("cifar10", tmp_path / "raw")
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["cifar-10-batches-py"]
    assert len(prepare(DataParams(source="cifar10", path=tmp_path / "raw"), 0).classes) == 10
    with pytest.raises(InputError, match="already exists"):
        downloads.download("cifar10", tmp_path / "raw")


def test_a_file_with_another_hash_is_refused_and_nothing_is_kept(served, tmp_path, monkeypatch):
    folder, address = served
    data_files.idx(folder)
    _expect(monkeypatch, "fashion-mnist", sorted(folder.iterdir()))
    monkeypatch.setattr(FashionMnist, "_CONTENTS", data_files.contents(folder))
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", [address])
    downloads.download("fashion-mnist", tmp_path / "right")
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(
        RunError, match=r"train-labels.* is not the official file .*nothing was kept"
    ):
        downloads.download("fashion-mnist", tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
    assert (
        len(prepare(DataParams(source="fashion-mnist", path=tmp_path / "right"), 0).classes) == 10
    )


def test_an_archive_that_would_write_elsewhere_is_refused(served, tmp_path, monkeypatch):
    folder, address = served
    archive = folder / "cifar-100-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        member = tarfile.TarInfo("../outside")
        member.size = 1
        file.addfile(member, io.BytesIO(b"x"))
    _expect(monkeypatch, "cifar100", [archive])
    monkeypatch.setattr("torchvision.datasets.CIFAR100.url", address + archive.name)
    with pytest.raises(RunError, match="cannot be unpacked"):
        downloads.download("cifar100", tmp_path / "raw")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served"]


def test_an_absent_file_and_an_unknown_name_are_told(served, tmp_path, monkeypatch):
    _, address = served
    monkeypatch.setattr("torchvision.datasets.CIFAR10.url", address + "absent.tar.gz")
    with pytest.raises(RunError, match=r"cannot be downloaded .*404.*by hand"):
        downloads.download("cifar10", tmp_path / "raw")
    with pytest.raises(InputError, match="choose one of cifar10"):
        downloads.download("imagenet", tmp_path / "raw")
    assert not (tmp_path / "raw").exists()
