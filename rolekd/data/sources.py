"""Sources of images, by name. A new source is one function and one row of the table."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rolekd.data.dataset import Dataset, Images, Indices, Labels, assemble
from rolekd.data.splits import all_splits
from rolekd.errors import InputError

if TYPE_CHECKING:
    from rolekd.params import DataParams


@dataclass(frozen=True)
class Raw:
    """What a source gives.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: int64 [N].
        classes: Names of the classes.
        test: Indices of the source's own test split; None where it has none.
    """

    images: Images
    labels: Labels
    classes: tuple[str, ...]
    test: Indices | None = None


def prepare(params: "DataParams", seed: int) -> Dataset:
    """Read the source that `params` names, split it and compute its statistics."""
    raw = _source(params.source)(params)
    splits = all_splits(
        raw.images,
        raw.labels,
        raw.classes,
        raw.test,
        params.test_fraction,
        params.search_validation_fraction,
        seed,
    )
    return assemble(params.source, raw.images, raw.labels, raw.classes, splits)


def _source(name: str) -> Callable[["DataParams"], Raw]:
    if name not in _SOURCES:
        near = difflib.get_close_matches(name, _SOURCES, n=1)
        raise InputError(
            f"data.source: no source {name!r}; "
            + (f"did you mean {near[0]}?" if near else f"choose one of {', '.join(_SOURCES)}")
        )
    return _SOURCES[name]


def _digits(params: "DataParams") -> Raw:
    """scikit-learn's optical digits: 1,797 images of 8x8 with values 0..16, embedded."""
    if params.path is not None:
        raise InputError("data.path: the source digits is embedded and reads no folder; set null")
    if params.image_size not in (None, 8):
        raise InputError("data.image_size: the digits are 8x8; set 8 or null")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    return Raw(images, digits.target.astype(np.int64), tuple(str(d) for d in digits.target_names))


_SOURCES: dict[str, Callable[["DataParams"], Raw]] = {"digits": _digits}
