"""One image file -> one array of pixels: the rule by which files become training images.

1. JPEG, PNG, WebP, BMP, TIFF or GIF, and AVIF and HEIC where Pillow can; recognised by content.
   Of several frames or pages the first.
2. Rotated as its EXIF orientation says.
3. Placed on white where it is transparent; 16-bit gray to its high byte; then to RGB or gray.
4. The largest centred square, resized (bicubic, with antialiasing) to the wanted side. This is
   the resizing of the shorter side and the centre crop in one step. A large JPEG is decoded at a
   half, a quarter or an eighth of its size, at least twice the wanted side.

Training, `rolekd predict`, `rolekd serve` and other readers of files for a network share this rule.

Files may come from anybody: only regular files of a bounded size are read, and the memory that an
image takes is known from its header, before it is decoded.
"""

import contextlib
import errno
import functools
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError

from rolekd import files
from rolekd.errors import one_line
from rolekd.sources.decode import FORMATS, KINDS

MOST_BYTES = 2**27
# of an image as it is decoded: a page of A4 at 600 dots per inch has 35 million
MOST_PIXELS = 40_000_000
# of a JPEG before it is decoded smaller: seconds, and no more memory; a phone's largest have 200
MOST_REDUCED = 400_000_000
# of memory for the worst such image and its file; code that decodes in parallel divides by it
PEAK_BYTES = 2**30
# each pass over a progressive JPEG takes as long as all of another one
_MOST_SCANS = 100
_SCALE = "scale it down"
# rows converted at once
_ROWS = 256
# raised by Pillow's decoders for files that are damaged, cut short, absurdly large or not images
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# of the side: how large a JPEG is decoded at least, before it is resized
_DRAFT = 2
_JPEG = b"\xff\xd8\xff"
# what a HEIC file's header says after its length: `ftyp` and one of these brands
_HEIC = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}


class UnreadableError(Exception):
    """The file cannot be read as an image, or is too large; the message is the reason."""


class WrongSizeError(Exception):
    """The image has another size than the one that was required; the message has both."""


class OpenedImage:
    """An image file whose header has been read.

    Attributes:
        size: Width and height in pixels, as the file has them.
    """

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self.size = image.size

    def fitted(self, side: int, channels: int) -> npt.NDArray[np.uint8]:
        """Decode it, once, and return it as uint8 [side, side, channels].

        Raises:
            UnreadableError: It cannot be decoded, or would take too much memory.
        """
        with _told(), self._image as opened:
            # a JPEG can be decoded at an eighth of its size, for a fraction of the time
            opened.draft(None, (_DRAFT * side, _DRAFT * side))
            _check_pixels(*opened.size)
            ImageOps.exif_transpose(opened, in_place=True)
            image = _flat(opened, channels)
            square = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
        return np.asarray(square, np.uint8).reshape(side, side, channels)


def open_image(file: Path | IO[bytes]) -> OpenedImage:
    """Read the header of an image.

    Args:
        file: Path, or an open binary file, which is read from its start where it can be.

    Raises:
        UnreadableError: The file cannot be read; the message says why.
    """
    with _told():
        return OpenedImage(_opened(_content(file)))


def read(
    file: Path | IO[bytes], side: int, channels: int, *, resize: bool = True
) -> npt.NDArray[np.uint8]:
    """Return an image file as uint8 [side, side, channels].

    Args:
        file: See `open_image`.
        side: Wanted height and width in pixels.
        channels: 1 for gray, 3 for RGB.
        resize: False refuses images that do not have the size already.

    Raises:
        UnreadableError: The file cannot be read; the message says why.
        WrongSizeError: The image has another size, and `resize` is False.
    """
    image = open_image(file)
    if not resize and image.size != (side, side):
        width, height = image.size
        raise WrongSizeError(f"is {width}x{height} pixels, not {side}x{side}")
    return image.fitted(side, channels)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Raise `UnreadableError` for what Pillow raises in the block."""
    try:
        yield
    except _BROKEN as error:
        raise UnreadableError(_reason(error)) from error


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
    """Open an image and read its header; refuse what would take too long to decode."""
    if content.startswith(_JPEG):
        # its plugin without Pillow's limit, which is one of memory: ours is asked after reduction
        opened: Image.Image = JpegImagePlugin.jpeg_factory(io.BytesIO(content))
        _check_pixels(*opened.size, most=MOST_REDUCED)
    else:
        opened = _identified(content)
        _check_pixels(*opened.size)
    if opened.info.get("progressive"):  # kept whole, whatever size it is decoded at
        _check_pixels(*opened.size)
        scans = content.count(b"\xff\xda")
        if scans > _MOST_SCANS:
            raise UnreadableError(f"is a progressive JPEG of {scans} scans; save it again")
    return opened


def _identified(content: bytes) -> Image.Image:
    heic = content[4:8] == b"ftyp" and content[8:12] in _HEIC and b"avif" not in content[8:64]
    if heic and not _reads_heic():
        raise UnreadableError("is HEIC; pip install pillow-heif, or save it as JPEG")
    with warnings.catch_warnings():  # of sizes, which are checked next
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(content), formats=_formats())


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@functools.cache
def _reads_heic() -> bool:
    """Let Pillow read HEIC, if the package for it is there."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener(thumbnails=False)
    return True


def _check_pixels(width: int, height: int, most: int | None = None) -> None:
    most = most or MOST_PIXELS
    if width * height > most:
        raise UnreadableError(f"is {width}x{height} pixels, more than {most:,}; {_SCALE}")


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
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() >= 2**16:
            raise UnreadableError("has pixels that are not of 8 or 16 bits; save it with those")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return image.convert(mode)


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"is not a {KINDS} image"
    if isinstance(error, Image.DecompressionBombError):
        # by Pillow's own limit, which is above ours, before its size is known here
        return f"has more than {MOST_PIXELS:,} pixels; {_SCALE}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(error) or type(error).__name__
