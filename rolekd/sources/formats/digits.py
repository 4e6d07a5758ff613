"""scikit-learn's optical digits: 1,797 images of 8x8, embedded in that package."""

from collections.abc import Iterator

import numpy as np

from rolekd.errors import InputError
from rolekd.params import DataParams
from rolekd.sources.source import ImageBlock, Listing, check_native_shape

_SIDE = 8


class Digits:
    """The default source: it does not need a download or a folder."""

    def __init__(self, params: DataParams) -> None:
        if params.path.name != "digits":
            raise InputError(
                f"data.path: the source digits is embedded and does not read {params.path}; "
                "set data/raw/digits, or name another source in data.source"
            )
        check_native_shape(params, _SIDE, 1)
        from sklearn.datasets import load_digits

        self._digits = load_digits()

    def listing(self) -> Listing:
        """Return the labels; digits do not have a test split."""
        labels = self._digits.target.astype(np.int64)
        return Listing(
            names=[f"digits[{number}]" for number in range(len(labels))],
            labels=labels,
            classes=tuple(str(digit) for digit in self._digits.target_names),
        )

    def shape(self) -> tuple[int, int, int]:
        """Return (8, 8, 1)."""
        return _SIDE, _SIDE, 1

    def blocks(self) -> Iterator[ImageBlock]:
        """Yield all images at once, their 0..16 spread over 0..255."""
        images = np.round(self._digits.images * (255 / 16)).astype(np.uint8)
        yield ImageBlock(images[..., np.newaxis])


SOURCES = {"digits": Digits}
