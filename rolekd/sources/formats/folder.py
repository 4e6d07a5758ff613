"""A folder of photos: one folder for each class, divided by the user or by us."""

import unicodedata
from pathlib import Path

import numpy as np

from rolekd.errors import InputError, few
from rolekd.sources.files import ImageFiles, image_files, shown
from rolekd.sources.source import Listing, check_class_name

# what people call the folders of splits; a data set whose classes have these names is none
_ROLES = {"train", "training", "test", "testing", "val", "valid", "validation"}


class ImageFolder(ImageFiles):
    """`train/<class>/*` and `test/<class>/*`, or `<class>/*` alone.

    Without `test`, `val` is the test split; with both, `val` is more to train on, since the
    search divides the training images itself. Folders in a class folder belong to the class;
    hidden files, and files without an image's suffix, are left out.
    """

    def listing(self) -> Listing:
        """Return the files of all classes, sorted by split, class and name."""
        training, test = _parts(self._root)
        found = {part: _classes(part) for part in [*training, *test]}
        classes = sorted({name for part in training for name in found[part]})
        for part in test:
            _require_same(found[part], classes, part)
        paths: list[Path] = []
        labels: list[int] = []
        ignored: list[str] = []
        sizes = []
        for parts in (training, test):
            for part in parts:
                ignored += map(shown, _loose(part))
                for name, folder in sorted(found[part].items()):
                    images, others = _files(folder)
                    paths += images
                    labels += [classes.index(name)] * len(images)
                    ignored += map(shown, others)
            sizes.append(len(paths))
        self._paths = paths
        return Listing(
            names=[shown(path) for path in paths],
            labels=np.array(labels, np.int64),
            classes=tuple(classes),
            test=np.arange(*sizes, dtype=np.int64) if test else None,
            ignored=tuple(ignored),
        )


def _parts(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders of classes to train on, and those to test on."""
    train, test, val = root / "train", root / "test", root / "val"
    names = [folder.name for folder in _subfolders(root)]
    # a folder called train that holds images, not folders, is a class
    if not (train.is_dir() and _subfolders(train)):
        if names and all(name.lower() in _ROLES for name in names):
            raise InputError(
                f"{root}: holds {', '.join(names)}, which are no classes; name them train, test "
                "and val, and put the images of each class into one folder in each of them"
            )
        return [root], []
    others = sorted(set(names) - {part.name for part in (train, test, val)})
    if others:
        raise InputError(
            f"{root}: only train, test and val are read, not {few(others)}; "
            "rename or move what lies beside them"
        )
    held = [part for part in (test, val) if part.is_dir()]
    return [train, *held[1:]], held[:1]


def _loose(part: Path) -> list[Path]:
    """Return the files that lie beside the folders of the classes."""
    return sorted(p for p in part.iterdir() if p.is_file() and not p.name.startswith("."))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _classes(part: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in _subfolders(part):
        # the same name from a Mac and from elsewhere: composed and decomposed accents
        name = unicodedata.normalize("NFC", folder.name)
        check_class_name(name, shown(folder))
        if name in found:
            raise InputError(f"{folder}: another folder has the same name; join them")
        found[name] = folder
    if not found:
        raise InputError(
            f"{part}: holds no folder; put the images of each class into one of its own"
        )
    return found


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    images, others = image_files(folder)
    if not images:
        raise InputError(
            f"{folder}: holds no JPEG, PNG, WebP or BMP image; add some or remove the folder"
        )
    return images, others


def _require_same(found: dict[str, Path], classes: list[str], part: Path) -> None:
    different = sorted(set(found) ^ set(classes))
    if different:
        raise InputError(
            f"{part}: its classes are not those of train; only in one of them: "
            f"{few(different)}; make them the same"
        )


SOURCES = {"image-folder": ImageFolder}
