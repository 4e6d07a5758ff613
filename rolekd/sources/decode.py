"""Many image files -> blocks of pixels, decoded in parallel, in order, a few at a time."""

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rolekd import processes
from rolekd.data.pixels import images_at_once
from rolekd.errors import RunError

# Pillow's name of a format -> what people call it, and the suffixes of its files
_FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "JPEG": ("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif")),
    "PNG": ("PNG", (".png",)),
    "WEBP": ("WebP", (".webp",)),
    "BMP": ("BMP", (".bmp",)),
    "TIFF": ("TIFF", (".tif", ".tiff")),
    "GIF": ("GIF", (".gif",)),
    "AVIF": ("AVIF", (".avif",)),
    "HEIF": ("HEIC", (".heic", ".heif")),
}
FORMATS = tuple(_FORMATS)
_NAMES = [name for name, _ in _FORMATS.values()]
KINDS = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"
SUFFIXES = frozenset(suffix for _, suffixes in _FORMATS.values() for suffix in suffixes)
_BLOCK = 64
# fewer files are decoded in this process: starting others takes longer
_PARALLEL_FROM = 1000
# blocks that wait for their turn, for each process
_AHEAD = 4


class Decoded(NamedTuple):
    """Images of some files.

    Attributes:
        pixels: uint8 [n, side, side, channels]; zeros for those that could not be read.
        faults: Place in them -> why that file could not be read.
        enlarged: How many were smaller, and were enlarged.
    """

    pixels: npt.NDArray[np.uint8]
    faults: dict[int, str]
    enlarged: int


def is_image(path: Path) -> bool:
    """Return whether a file's name has the suffix of an image."""
    return path.suffix.lower() in SUFFIXES


def blocks(
    paths: Sequence[Path], side: int, channels: int, workers: int | None = None
) -> Iterator[Decoded]:
    """Yield the images of `paths`, in order, in blocks.

    Args:
        paths: Image files.
        side: Height and width of the results, in pixels.
        channels: 1 for gray, 3 for RGB.
        workers: Processes; None: one for each core, if memory is sufficient, and none for a few
            files. It does not change the result.
    """
    step = images_at_once((side, side, channels), _BLOCK)
    parts = [paths[i : i + step] for i in range(0, len(paths), step)]
    if workers is None:
        workers = _processes() if len(paths) >= _PARALLEL_FROM else 1
    if workers == 1:
        for part in parts:
            yield decode(part, side, channels)
        return
    # spawned, not forked: the caller may have threads
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=processes.die_with_parent
    )
    waiting: deque[Future[Decoded]] = deque()
    try:
        for part in parts:
            waiting.append(pool.submit(decode, part, side, channels))
            if len(waiting) >= workers * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            "a process that decodes images was killed, perhaps because memory ran out; "
            "free some memory, then run again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _processes() -> int:
    """Return how many processes decode: one for each core, if memory suffices."""
    import psutil

    from rolekd.sources import images

    room = int(psutil.virtual_memory().available // images.PEAK_BYTES)
    return max(1, min(processes.cores(), room))


def decode(paths: Sequence[Path], side: int, channels: int) -> Decoded:
    """Return the images of `paths`, zeros for those that could not be read, and why not."""
    from rolekd.sources import images  # Pillow, which the training core does without

    pixels = np.zeros((len(paths), side, side, channels), np.uint8)
    faults = {}
    enlarged = 0
    for number, path in enumerate(paths):
        try:
            image = images.open_image(path)
            pixels[number] = image.fitted(side, channels)
            enlarged += min(image.size) < side
        except images.UnreadableError as error:
            faults[number] = str(error)
    return Decoded(pixels, faults, enlarged)
