"""What is worth knowing about a data set before a network learns from it."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from rolekd.data.dataset import Dataset, Indices
from rolekd.errors import few
from rolekd.sources import Listing

# a class with fewer images to train on is named
FEW = 20
_EXAMPLES = 10


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
        left_out: Training images that also stand in the source's own test split.
        duplicate_examples: Names of the images of the first groups of equal ones.
        unreadable: Name of a file -> why it could not be read; they were left out.
        ignored: Suffix -> files among the images that are none by name, or in no class's folder.
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
            "imbalance": round(self.imbalance, 3),
            "small_classes": len(self.small_classes),
        }

    def warnings(self) -> list[str]:
        """Return the findings that a user should look at, a line for each."""
        found = {
            f"unreadable images that were left out: {len(self.unreadable)}": self.unreadable,
            f"{sum(self.ignored.values())} files were left out, no images by name or in no class's "
            f"folder: {few([f'{n} {s}' for s, n in self.ignored.items()])}": (self.ignored),
            f"{self.conflicts} groups of equal images have different labels": self.conflicts,
            f"{self.left_out} training images also stand in the test split and were left out": (
                self.left_out
            ),
            f"{self.duplicates} images equal another one; each group is in one split": (
                self.duplicates
            ),
            f"fewer than {FEW} images to train on in class {few(self.small_classes)}": (
                self.small_classes
            ),
            "classes without an image in a split, where nothing is known of them: "
            + ", ".join(f"{name} ({split})" for name, split in self._lacking()[:10]): (
                self._lacking()
            ),
            f"the largest class has {self.imbalance:.0f} times the images of the smallest; "
            "data.balance: sampling evens that out": self.imbalance >= 10,
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
    dataset: Dataset, groups: Indices, listing: Listing, unreadable: dict[str, str]
) -> Quality:
    """Return the findings about `dataset`; `listing` is of the images that are in it."""
    count = len(dataset.classes)
    per_split = {
        split: np.bincount(dataset.labels[indices], minlength=count)
        for split, indices in dataset.splits.items()
    }
    per_class = np.bincount(dataset.labels, minlength=count)
    repeated = [g for g in _members(groups) if len(g) > 1]
    test = dataset.splits["test"]
    unused = np.setdiff1d(
        np.arange(len(dataset.labels)), np.concatenate([dataset.splits["train"], test])
    )
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
        left_out=int(np.isin(groups[unused], groups[test]).sum()),
        duplicate_examples=[[listing.names[i] for i in g] for g in repeated[:_EXAMPLES]],
        unreadable=unreadable,
        ignored=dict(Counter(map(_suffix, listing.ignored)).most_common()),
    )


def _suffix(name: str) -> str:
    return PurePath(name).suffix.lower() or "without a suffix"


def _members(groups: Indices) -> list[list[int]]:
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(index)
    return list(members.values())
