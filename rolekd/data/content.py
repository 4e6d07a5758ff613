"""Facts from pixels: equality and statistics, gathered while images are read."""

import hashlib
from typing import Self

import numpy as np
import numpy.typing as npt

from rolekd.data.pixels import images_at_once

# images that are widened to integers at once
_ROWS = 256


class PixelSums:
    """A hash and the sums of each image, so that no later step has to read the pixels again."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._sums: list[npt.NDArray[np.int64]] = []
        self._pixels = 1

    @classmethod
    def of(cls, images: npt.NDArray[np.uint8]) -> Self:
        """Return the content of images [N, H, W, C]."""
        content = cls()
        content.add(images)
        return content

    def add(self, images: npt.NDArray[np.uint8]) -> None:
        """Take in images [n, H, W, C]."""
        step = images_at_once(images.shape[1:], _ROWS)
        for start in range(0, len(images), step):
            part = np.ascontiguousarray(images[start : start + step])
            pixels = part.reshape(len(part), -1, part.shape[3])
            self._digests += [hashlib.sha256(image.data).digest() for image in pixels]
            # planes first: a sum along the memory is eight times faster
            wide = np.ascontiguousarray(pixels.transpose(0, 2, 1)).astype(np.uint32)
            # [n, 2, C]: of the values, and of their squares; integers, so exact
            sums = [values.sum(2, dtype=np.int64) for values in (wide, wide * wide)]
            self._sums.append(np.stack(sums, axis=1))
            self._pixels = pixels.shape[1]

    def groups(self) -> npt.NDArray[np.int64]:
        """Return a number [N] for each image; images with equal pixels have the same."""
        known: dict[bytes, int] = {}
        numbers = [known.setdefault(digest, len(known)) for digest in self._digests]
        return np.array(numbers, np.int64)

    def statistics(
        self, indices: npt.NDArray[np.int64]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of some images' pixels, per channel, in 0..1."""
        first, second = np.concatenate(self._sums)[indices].sum(0)
        count = len(indices) * self._pixels
        mean = first / count / 255
        std = np.sqrt(np.maximum(second / count / 255**2 - mean**2, 1e-8))
        return tuple(mean.tolist()), tuple(std.tolist())

    def digests(self) -> bytes:
        """Return the hashes of all images, one after the other."""
        return b"".join(self._digests)
