"""Files of pixels: a .npy array that grows as images come, and is mapped into memory later."""

import math
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from rolekd.errors import RunError

# bytes of images that are held at once by what works on a few of them
_HELD = 2**26


def images_at_once(shape: tuple[int, ...], most: int) -> int:
    """Return how many images of `shape` (H, W, C) to take at once: `most`, or fewer large ones."""
    return max(1, min(most, _HELD // math.prod(shape)))


class PixelFile:
    """A file uint8 [N, H, W, C] whose N is known when it is closed."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path = path
        self._shape = shape
        self._count = 0

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        self._write_header()
        return self

    def append(self, images: npt.NDArray[np.uint8]) -> None:
        """Add images [n, H, W, C].

        Raises:
            RunError: The disk is full or broken.
        """
        try:
            self._file.write(np.ascontiguousarray(images).data)
        except OSError as error:
            raise self._failure(error) from error
        self._count += len(images)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                self._write_header()
            self._file.close()
        except OSError as failure:
            if kind is None:
                raise self._failure(failure) from failure

    def _write_header(self) -> None:
        # numpy leaves room in a header for the first size to grow: the second is as long
        np.lib.format.write_array_header_1_0(
            self._file,
            {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self._shape)},
        )

    def _failure(self, error: OSError) -> RunError:
        return RunError(
            f"{self._path.parent}: writing the images failed ({error.strerror}); "
            "free some space or check the disk, then run again"
        )
