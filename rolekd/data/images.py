"""One image file -> one array of pixels: the rule by which files become training images.

1. JPEG, PNG, WebP or BMP, recognised by content.
2. Turned as its EXIF orientation says.
3. Laid on white where it is transparent; 16-bit gray to its high byte; then to RGB or gray.
4. The largest centred square, resized (bicubic, with antialiasing) to the wanted side. This is
   the resizing of the shorter side and the centre crop in one step.

Training, `rolekd predict` and whoever else reads files for a network use it alike.
"""

import struct
import warnings
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from rolekd.errors import one_line

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
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
    Image.DecompressionBombWarning,
)
# of the side: how large a JPEG is decoded at least, before it is resized
_DRAFT = 2


class UnreadableError(Exception):
    """The file is no image that can be read; the message is the reason."""


class WrongSizeError(Exception):
    """The image has another size than the one that was required; the message has both."""


def read(
    file: Path | IO[bytes], side: int, channels: int, *, resize: bool = True
) -> npt.NDArray[np.uint8]:
    """Return an image file as uint8 [side, side, channels].

    Args:
        file: Path, or an open binary file.
        side: Wanted height and width in pixels.
        channels: 1 for gray, 3 for RGB.
        resize: False refuses images that do not have the size already.

    Raises:
        UnreadableError: The file cannot be read; the message says why.
        WrongSizeError: The image has another size, and `resize` is False.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of an image over its limit, and refuses twice the limit: we refuse both
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(file, formats=FORMATS)
        with opened:
            # a JPEG can be decoded at an eighth of its size, for a fraction of the time
            if resize:
                opened.draft(None, (_DRAFT * side, _DRAFT * side))
            image = _flat(ImageOps.exif_transpose(opened), channels)
            square = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    except _BROKEN as error:
        raise UnreadableError(_reason(error)) from error
    if not resize and image.size != (side, side):
        raise WrongSizeError(f"is {image.width}x{image.height} pixels, not {side}x{side}")
    return np.asarray(square, np.uint8).reshape(side, side, channels)


def _flat(image: Image.Image, channels: int) -> Image.Image:
    """Return an image without transparency, 8 bits a channel, gray or RGB."""
    if image.mode.startswith(("I", "F")):
        high = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        image = Image.fromarray(high.astype(np.uint8))
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return image.convert("L" if channels == 1 else "RGB")


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "is no JPEG, PNG, WebP or BMP image"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"has more than {Image.MAX_IMAGE_PIXELS} pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(error) or type(error).__name__
