"""A folder of photos: one folder for each class, with or without splits."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rolekd import files
from rolekd.errors import InputError, few
from rolekd.sources.decode import KINDS
from rolekd.sources.listing import ImageFiles, image_files, not_followed, path_text
from rolekd.sources.source import Listing, check_class_name, part_of

# Tiny-ImageNet's validation images lie in one folder, beside a table of name, class and box
_ANNOTATIONS = "val_annotations.txt"
_UNSORTED = "images"  # that folder's name
_ANNOTATIONS_BYTES = 2**28


@dataclass
class _Part:
    """The images of a split: class -> files; and files among them that are not images."""

    images: dict[str, list[Path]] = field(default_factory=dict)
    ignored: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)


class ImageFolder(ImageFiles):
    """`train/<class>/*`, `val/<class>/*` and `test/<class>/*`, or `<class>/*` alone.

    Without `val` or `test` a part of train is drawn. Folders in a class folder belong to the class;
    hidden files, files without an image's suffix, and links to folders, are left out. Of
    Tiny-ImageNet, `val` is read by its annotations; a `test` without classes is left out.
    """

    def listing(self) -> Listing:
        """Return the files of all classes, sorted by split, class and name."""
        folders = _parts(self._root)
        parts = {name: _read(folder, name) for name, folder in folders.items()}
        classes = sorted(parts["train"].images)
        links = [] if self._root in folders.values() else _links(self._root)  # else: of that part
        paths: list[Path] = []
        labels: list[int] = []
        places: dict[str, range] = {}
        for name, part in parts.items():
            _require_known(part, classes, folders[name], parts["train"].links)
            begin = len(paths)
            for of_class, images in sorted(part.images.items()):
                paths += images
                labels += [classes.index(of_class)] * len(images)
            places[name] = range(begin, len(paths))
        self._paths = paths
        test, validation = (
            np.array(places[name], np.int64) if places.get(name) else None
            for name in ("test", "val")
        )
        return Listing(
            names=[path_text(path) for path in paths],
            labels=np.array(labels, np.int64),
            classes=tuple(classes),
            test=test,
            validation=validation,
            ignored=tuple(path_text(path) for part in parts.values() for path in part.ignored),
            linked=tuple(
                path_text(path)
                for found in (links, *(p.links for p in parts.values()))
                for path in found
            ),
        )


def _parts(root: Path) -> dict[str, Path]:
    """Return the folder of each split; a folder of classes alone is train."""
    named: dict[str, Path] = {}
    others = []
    for folder in _subfolders(root):
        part = part_of(folder.name)
        if part is None:
            others.append(folder.name)
        elif part in named:
            raise InputError(
                f"{root}: {named[part].name} and {folder.name} are both {part}; join them"
            )
        else:
            named[part] = folder
    # a folder called train that holds images, not folders, is a class
    if "train" not in named or not _subfolders(named["train"]):
        if named and not others:
            raise InputError(
                f"{root}: holds {', '.join(sorted(p.name for p in named.values()))}, which are not "
                "classes; name them train, test and val, and put the images of each class into "
                f"one folder in each of them{_not_followed(_links(root))}"
            )
        return {"train": root}
    if others:
        raise InputError(
            f"{root}: only train, test and val are read, not {few(others)}; "
            "rename or move what lies beside them"
        )
    return {part: named[part] for part in ("train", "val", "test") if part in named}


def _read(folder: Path, part: str) -> _Part:
    if part == "val" and (folder / _ANNOTATIONS).is_file():
        return _annotated(folder)
    inside = _subfolders(folder)
    # without classes, as in a competition: it cannot be used for testing
    if part == "test" and [path.name for path in inside] in ([], [_UNSORTED]):
        found = image_files(folder)
        return _Part(ignored=found.images + found.others, links=found.links)
    loose = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    read = _Part(ignored=loose, links=_links(folder))
    for name, path in _classes(folder, inside).items():
        images, others, links = image_files(path)
        if not images:
            raise InputError(
                f"{path}: holds no {KINDS} image; add some or remove the folder"
                f"{_not_followed(links)}"
            )
        read.images[name] = images
        read.ignored += others
        read.links += links
    return read


def _annotated(folder: Path) -> _Part:
    """Read a folder whose images have their classes in Tiny-ImageNet's table."""
    table = folder / _ANNOTATIONS
    try:
        lines = files.read_bytes(table, _ANNOTATIONS_BYTES).decode().splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{table}: cannot be read ({error}); download it again") from error
    if (folder / _UNSORTED).is_symlink():
        return _Part(links=_links(folder))
    if not lines:
        raise InputError(f"{table}: is empty; download it again")
    faults = []
    labelled: list[tuple[Path, str]] = []
    for number, line in enumerate(lines, 1):
        name, *rest = line.split("\t")
        if not rest or not name or Path(name).name != name:
            faults.append(f"line {number}")
            continue
        labelled.append((folder / _UNSORTED / name, rest[0]))
    if faults:
        raise InputError(
            f"{table}: {few(faults)}: not the name of an image, a tab and a class; download it "
            f"again"
        )
    named = Counter(path for path, _ in labelled)
    if repeated := [path.name for path, count in named.items() if count > 1]:
        raise InputError(f"{table}: more than one line for {few(repeated)}; keep the right one")
    images: dict[str, list[Path]] = {}
    for path, name in labelled:
        images.setdefault(check_class_name(name, table), []).append(path)
    found = image_files(folder)
    ignored = [p for p in found.images + found.others if p not in named and p != table]
    return _Part(images, ignored, found.links)


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in _folders(folder) if not path.is_symlink()]


def _links(folder: Path) -> list[Path]:
    return [path for path in _folders(folder) if path.is_symlink()]


def _not_followed(links: list[Path]) -> str:
    return not_followed([path_text(path) for path in links])


def _classes(part: Path, folders: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        name = check_class_name(folder.name, path_text(folder))
        if name in found:
            raise InputError(f"{folder}: another folder has the same name; join them")
        found[name] = folder
    if not found:
        raise InputError(
            f"{part}: contains no folders; put the images of each class into a folder"
            f"{_not_followed(_links(part))}"
        )
    return found


def _require_known(part: _Part, classes: list[str], folder: Path, links: list[Path]) -> None:
    unknown = sorted(set(part.images) - set(classes))
    if unknown:
        lacking = sorted(set(classes) - set(part.images))
        more = f", and {few(lacking)} only in train" if lacking else ""
        raise InputError(
            f"{folder}: its classes differ from those of train; only here: {few(unknown)}{more}; "
            f"make them the same{_not_followed(links)}"
        )


SOURCES = {"image-folder": ImageFolder}
