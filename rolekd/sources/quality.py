"""What you should know about a data set before a network learns from it."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from rolekd.data.dataset import Dataset, Indices
from rolekd.errors import few
from rolekd.sources import Listing

# classes with fewer training images are named
FEW = 20
# share of files that are left out above which the user is always told
MOST_LEFT_OUT = 0.1
_EXAMPLES = 10
# what can become of an image -> in words
_FATES = {
    "train": "to train on",
    "search_val": "to measure searches on",
    "test": "to test on",
    "left_out": "left out as copies of images in a split that decides less",
    "not_used": "not used (data.training_images)",
}


class Faults(NamedTuple):
    """Findings about files from decoding them.

    Attributes:
        unreadable: Name of a file -> why it could not be read.
        enlarged: Images that were smaller than they are now.
    """

    unreadable: dict[str, str]
    enlarged: int


@dataclass(frozen=True)
class Quality:
    """Findings about a data set.

    Attributes:
        images: That could be read.
        classes: Name -> images of each split.
        imbalance: Images of the largest class over those of the smallest.
        small_classes: Those with fewer than `FEW` images to train on.
        duplicates: Images whose pixels equal an earlier image's.
        conflicts: Groups of equal images whose labels differ.
        left_out: Images that also are in one of the source's own splits that decides less.
        duplicate_examples: Names of the images of the first groups of equal ones.
        unreadable: Name of a file -> why it could not be read; they were left out.
        ignored: Suffix -> files among the images that are none by name, or in no class's folder.
        left_out_share: Unreadable and ignored files, as a share of all, 0..1.
        enlarged: Images that were smaller than `data.image_size`.
        linked: Links to folders, of splits, classes and images, which were not followed.
        outside: Files read outside `data.path`, of which DVC does not see when they change.
        unread: Columns of a table that were not read.
        became: What the source calls its images (train, val, test, or images where it has no
            splits) -> what became of them (train, search_val, test, left_out, not_used) -> how
            many.
    """

    images: int
    classes: dict[str, dict[str, int]]
    imbalance: float
    small_classes: list[str]
    duplicates: int
    conflicts: int
    left_out: int
    duplicate_examples: list[list[str]]
    unreadable: dict[str, str]
    ignored: dict[str, int]
    left_out_share: float
    enlarged: int
    linked: list[str]
    outside: int
    unread: list[str]
    became: dict[str, dict[str, int]]

    def to_json(self) -> dict[str, Any]:
        """Return the findings as a JSON object."""
        return asdict(self)

    def metrics(self) -> dict[str, float]:
        """Return the findings that are numbers."""
        return {
            "duplicates": self.duplicates,
            "conflicting_duplicates": self.conflicts,
            "left_out": self.left_out,
            "unreadable": len(self.unreadable),
            "left_out_share": round(self.left_out_share, 4),
            "enlarged": self.enlarged,
            "imbalance": round(self.imbalance, 3),
            "small_classes": len(self.small_classes),
        }

    def fates(self) -> list[str]:
        """Return what became of the images of each of the source's splits, a line for each."""
        return [
            f"{name}: {sum(counts.values())} images, "
            + ", ".join(f"{count} {_FATES[fate]}" for fate, count in counts.items() if count)
            for name, counts in self.became.items()
        ]

    def alarms(self) -> list[str]:
        """Return the most important findings, a line for each."""
        if self.left_out_share <= MOST_LEFT_OUT:
            return []
        count = sum(self.ignored.values()) + len(self.unreadable)
        return [
            f"{100 * self.left_out_share:.0f} % of all files, {count}, were left out; check "
            f"whether "
            "your images are among them"
        ]

    def warnings(self) -> list[str]:
        """Return the findings worth a look, a line for each; `alarms` first."""
        return [*self.alarms(), *self._notes()]

    def _notes(self) -> list[str]:
        found = {
            f"unreadable images that were left out: {len(self.unreadable)}": self.unreadable,
            f"{sum(self.ignored.values())} files were left out, since they are not images by "
            f"name or are outside the classes' folders: "
            f"{few([f'{n} {s}' for s, n in self.ignored.items()])}": (self.ignored),
            f"{self.conflicts} groups of equal images have different labels": self.conflicts,
            "the data have no test split: one is drawn from the training images; data.validation: "
            "test takes the validation images instead": (
                set(self.became) == {"train", "val"} and self.became["val"]["search_val"]
            ),
            f"{self.left_out} images also are in the test split, or in the validation split, and "
            "were left out": self.left_out,
            f"{len(self.linked)} linked folders were not followed ({few(self.linked, 3)}); put the "
            "images themselves there": self.linked,
            f"{self.enlarged} images are smaller than data.image_size and were enlarged": (
                self.enlarged
            ),
            f"{self.outside} files that were read are outside data.path, where DVC does not see "
            "changes; then run dvc repro -f prepare": self.outside,
            "columns of the table that were not read: "
            f"{few([repr(name) for name in self.unread])}": self.unread,
            f"{self.duplicates} images equal another one; each group is in one split": (
                self.duplicates
            ),
            f"fewer than {FEW} images to train on in class {few(self.small_classes)}": (
                self.small_classes
            ),
            "classes without an image in a split, which cannot be measured there: "
            + ", ".join(f"{name} ({split})" for name, split in self._lacking()[:10]): (
                self._lacking()
            ),
            f"the largest class has {self.imbalance:.0f} times the images of the smallest; "
            "data.balance: sampling balances them": self.imbalance >= 10,
        }
        return [text for text, true in found.items() if true]

    def _lacking(self) -> list[tuple[str, str]]:
        """Return (class, split) where the split has no image of the class."""
        return [
            (name, split)
            for name, counts in self.classes.items()
            for split, count in counts.items()
            if not count
        ]


def examine(
    dataset: Dataset, groups: Indices, listing: Listing, faults: Faults, tested: str = "test"
) -> Quality:
    """Return the findings about `dataset`.

    Args:
        dataset: Prepared.
        groups: int64 [N]; images with equal pixels have equal numbers.
        listing: Of the images that are in it.
        faults: Of the others, and of these.
        tested: What the source calls its test images.
    """
    count = len(dataset.classes)
    per_split = {
        split: np.bincount(dataset.labels[indices], minlength=count)
        for split, indices in dataset.splits.items()
    }
    per_class = np.bincount(dataset.labels, minlength=count)
    repeated = [g for g in _members(groups) if len(g) > 1]
    became = _fates(dataset, groups, listing, tested)
    left = sum(map(len, (listing.ignored, faults.unreadable)))
    return Quality(
        images=len(dataset.labels),
        classes={
            name: {split: int(numbers[i]) for split, numbers in per_split.items()}
            for i, name in enumerate(dataset.classes)
        },
        imbalance=float(per_class.max() / max(per_class.min(), 1)),
        small_classes=[
            name for i, name in enumerate(dataset.classes) if per_split["train"][i] < FEW
        ],
        duplicates=sum(len(g) - 1 for g in repeated),
        conflicts=sum(len(set(dataset.labels[g].tolist())) > 1 for g in repeated),
        left_out=sum(counts["left_out"] for counts in became.values()),
        duplicate_examples=[[listing.names[i] for i in g] for g in repeated[:_EXAMPLES]],
        unreadable=faults.unreadable,
        ignored=dict(Counter(map(_suffix, listing.ignored)).most_common()),
        left_out_share=left / (left + len(dataset.labels)),
        enlarged=faults.enlarged,
        linked=list(listing.linked),
        outside=listing.outside,
        unread=list(listing.unread),
        became=became,
    )


def _fates(
    dataset: Dataset, groups: Indices, listing: Listing, tested: str
) -> dict[str, dict[str, int]]:
    """Return the source's splits -> what became of their images -> how many."""
    splits = dataset.splits
    held = [splits["test"], *([splits["search_val"]] if dataset.own_validation else [])]
    fate = np.full(len(dataset.labels), "not_used", dtype=object)
    fate[np.isin(groups, groups[np.concatenate(held)])] = "left_out"
    # where they are drawn, search_val is a part of train
    for split in ("search_val", "train", "test"):
        fate[splits[split]] = split
    parts = (("val", listing.validation), (tested, listing.test))
    own = {name: part for name, part in parts if part is not None}
    rest = np.setdiff1d(np.arange(len(fate)), np.concatenate([*own.values(), []]))
    places = {"train" if own else "images": rest, **own}
    counts = {name: Counter(fate[part.astype(np.int64)]) for name, part in places.items()}
    return {name: {one: count[one] for one in _FATES} for name, count in counts.items()}


def _suffix(name: str) -> str:
    return PurePath(name).suffix.lower() or "without a suffix"


def _members(groups: Indices) -> list[list[int]]:
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(index)
    return list(members.values())
