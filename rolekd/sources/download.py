"""Downloads of raw data from the addresses that torchvision uses, checked by our own hashes."""

import tarfile
from pathlib import Path
from typing import Any, NamedTuple

from rolekd import files
from rolekd.errors import InputError, RunError, one_line


class _File(NamedTuple):
    name: str
    sha256: str


# of the official files; compared with those in the sources of Keras and PyTorch's data sets
_FILES: dict[str, tuple[_File, ...]] = {
    "cifar10": (
        _File(
            "cifar-10-python.tar.gz",
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    ),
    "cifar100": (
        _File(
            "cifar-100-python.tar.gz",
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ),
    ),
    "fashion-mnist": tuple(
        _File(f"{name}-ubyte.gz", digest)
        for name, digest in (
            (
                "train-images-idx3",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            (
                "train-labels-idx1",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            (
                "t10k-images-idx3",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            (
                "t10k-labels-idx1",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        )
    ),
}
NAMES = tuple(_FILES)


def download(name: str, folder: Path) -> None:
    """Download a source's raw data into `folder`, completely or not at all.

    Raises:
        InputError: The download does not exist, or `folder` exists.
        RunError: The network fails, or a file is not the official one.
    """
    if name not in _FILES:
        raise InputError(f"no download {name!r}; choose one of {', '.join(_FILES)}")
    if folder.exists():
        raise InputError(f"{folder}: already exists; remove it to download it again")
    with files.replacing_folder(folder) as temporary:
        for file in _FILES[name]:
            path = temporary / file.name
            _fetch(_address(name, file.name), path)
            found = files.sha256(path)
            if found != file.sha256:
                raise RunError(
                    f"{file.name}: is not the official file (SHA-256 {found[:12]}..., "
                    f"expected {file.sha256[:12]}...); nothing was kept; try again later"
                )
            if file.name.endswith(".tar.gz"):
                _unpack(path, temporary)


def _fetch(address: str, path: Path) -> None:
    from torchvision.datasets.utils import download_url

    try:
        download_url(address, str(path.parent), path.name)
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(
            f"{path.name}: cannot be downloaded ({one_line(error)}); check the network, "
            "or put the files into the folder by hand"
        ) from error


def _address(name: str, file: str) -> str:
    from torchvision.datasets import CIFAR10, CIFAR100, FashionMNIST

    whole = {"cifar10": CIFAR10, "cifar100": CIFAR100}
    return str(whole[name].url) if name in whole else f"{FashionMNIST.mirrors[0]}{file}"


def _check_member(member: tarfile.TarInfo, folder: Path) -> None:
    """Refuse members that are not files or folders, or lead out of the folder."""
    inside = (folder / member.name).resolve().is_relative_to(folder.resolve())
    if not inside or not (member.isfile() or member.isdir()):
        raise tarfile.TarError(f"{member.name!r} leads elsewhere")


def _unpack(path: Path, folder: Path) -> None:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                _check_member(member, folder)
            # Python 3.11.2, Debian 12's, has no filters yet
            safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(folder, **safe)
    except (tarfile.TarError, OSError) as error:
        raise RunError(f"{path.name}: cannot be unpacked ({error}); download it again") from error
    path.unlink()
