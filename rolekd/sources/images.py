"""One image file -> one array of pixels: the rule by which files become training images.

1. JPEG, PNG, WebP or BMP, recognised by content.
2. Turned as its EXIF orientation says.
3. Laid on white where it is transparent; 16-bit gray to its high byte; then to RGB or gray.
4. The largest centred square, resized (bicubic, with antialiasing) to the wanted side. This is
   the resizing of the shorter side and the centre crop in one step.

Training, `rolekd predict` and whoever else reads files for a network use it alike.

Files may come from anybody: only regular ones of a bounded size are read, and what an image
takes in memory is decided from its header, before it is decoded.
"""

import errno
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from rolekd import files
from rolekd.errors import one_line

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MOST_BYTES = 2**27
# of an image as it is decoded: a page of A4 at 600 dots per inch has 35 million
MOST_PIXELS = 40_000_000
# of memory for the worst such image and its file; whoever decodes in parallel divides by it
PEAK_BYTES = 2**30
# each pass over a progressive JPEG takes as long as all of another one
_MOST_SCANS = 100
# rows that are made plain at once
_ROWS = 256
# what Pillow's decoders raise for files that are damaged, cut short, absurdly large or no images
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# of the side: how large a JPEG is decoded at least, before it is resized
_DRAFT = 2


class UnreadableError(Exception):
    """The file is no image that can be read, or too large; the message is the reason."""


class WrongSizeError(Exception):
    """The image has another size than the one that was required; the message has both."""


def read(
    file: Path | IO[bytes], side: int, channels: int, *, resize: bool = True
) -> npt.NDArray[np.uint8]:
    """Return an image file as uint8 [side, side, channels].

    Args:
        file: Path, or an open binary file, which is read from its start where it can be.
        side: Wanted height and width in pixels.
        channels: 1 for gray, 3 for RGB.
        resize: False refuses images that do not have the size already.

    Raises:
        UnreadableError: The file cannot be read; the message says why.
        WrongSizeError: The image has another size, and `resize` is False.
    """
    try:
        opened = _opened(_content(file))
        if not resize and opened.size != (side, side):
            raise WrongSizeError(f"is {opened.width}x{opened.height} pixels, not {side}x{side}")
        with opened:
            # a JPEG can be decoded at an eighth of its size, for a fraction of the time
            if resize:
                opened.draft(None, (_DRAFT * side, _DRAFT * side))
            _check_pixels(*opened.size)
            ImageOps.exif_transpose(opened, in_place=True)
            image = _flat(opened, channels)
        square = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    except _BROKEN as error:
        raise UnreadableError(_reason(error)) from error
    return np.asarray(square, np.uint8).reshape(side, side, channels)


def _content(file: Path | IO[bytes]) -> bytes:
    if isinstance(file, Path):
        return files.read_bytes(file, MOST_BYTES)
    if file.seekable():
        file.seek(0)
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"has more than {MOST_BYTES:,} bytes")
    return content


def _opened(content: bytes) -> Image.Image:
    """Open an image of which the header is read; refuse what would take too long to decode."""
    with warnings.catch_warnings():
        # Pillow's own limit holds for JPEGs, which are decoded smaller; ours is asked after
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
    if opened.info.get("progressive"):  # kept whole, whatever size it is decoded at
        _check_pixels(*opened.size)
        scans = content.count(b"\xff\xda")
        if scans > _MOST_SCANS:
            raise UnreadableError(f"is a progressive JPEG of {scans} scans; save it anew")
    return opened


def _check_pixels(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise UnreadableError(
            f"is {width}x{height} pixels, more than {MOST_PIXELS:,}; scale it down"
        )


def _flat(image: Image.Image, channels: int) -> Image.Image:
    """Return an image without transparency, 8 bits a channel, gray or RGB.

    Some rows at a time: the steps between would hold a large image several times over.
    """
    mode = "L" if channels == 1 else "RGB"
    if image.mode == mode and not image.has_transparency_data:
        return image
    flat = Image.new(mode, image.size)
    for top in range(0, image.height, _ROWS):
        rows = image.crop((0, top, image.width, min(top + _ROWS, image.height)))
        flat.paste(_flat_rows(rows, mode), (0, top))
    return flat


def _flat_rows(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        high = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        image = Image.fromarray(high.astype(np.uint8))
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return image.convert(mode)


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "is no JPEG, PNG, WebP or BMP image"
    if isinstance(error, Image.DecompressionBombError):
        return f"has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(error) or type(error).__name__
