"""Images: `rolekd predict` on files, and the decoding of prepare, which must agree."""

import io
import random
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fuzz import mutations
from fuzz.harness import Case, Refused, Special
from rolekd.export.predict import classify, expand
from rolekd.sources import decode

FILE = "image.png"
ALSO = "also.txt"  # further names that are asked for, one a line
GOOD = "good.png"
SIDE = 8


class _Network:
    """What `classify` needs of an exported network."""

    image_shape = (SIDE, SIDE, 3)

    def __init__(self) -> None:
        self.classes = ("dark", "light")
        self.origin = "network"

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        share = images.reshape(len(images), -1).mean(1) / 255
        both = np.stack([1 - share, share], 1).astype(np.float32)
        return both, both


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb(width: int, height: int, bits: int, colour: int, channels: int) -> bytes:
    """Return a PNG of zeros, which is small."""
    row = 1 + -(-width * channels * bits // 8)
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(row)) for _ in range(height)]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + (_chunk(b"PLTE", bytes(3)) + _chunk(b"tRNS", b"\0") if colour == 3 else b"")
        + _chunk(b"IDAT", b"".join(parts) + packer.flush())
        + _chunk(b"IEND", b"")
    )


class Target:
    """Small images of every format and mode, damaged; a PNG also within its checksums."""

    origin = FILE

    def __init__(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (12, 10, 4), dtype=np.uint8)
        rgba = Image.fromarray(noise)
        exif = Image.Exif()
        exif[0x0112] = 6  # turned
        self._examples = [
            *(_file(rgba.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
            _file(Image.fromarray(noise[..., 0].astype(np.uint16) * 257), "PNG"),
            _file(rgba, "PNG", exif=exif),
            *(_file(rgba.convert(mode), "JPEG") for mode in ("L", "RGB", "CMYK")),
            _file(rgba.convert("RGB"), "JPEG", exif=exif, progressive=True),
            *(_file(rgba, "WEBP", lossless=lossless) for lossless in (True, False)),
            *(_file(rgba.convert(mode), "BMP") for mode in ("1", "L", "P", "RGB")),
            *(_file(rgba.convert(mode), "TIFF") for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK")),
            _file(rgba.convert("RGB"), "TIFF", compression="tiff_lzw"),
            *(_file(rgba.convert(mode), "GIF") for mode in ("L", "P", "RGBA")),
            _file(rgba, "AVIF"),
        ]
        self._good = self._examples[4]
        netpbm = _file(rgba.convert("RGB"), "PPM")
        large = Image.new("RGB", (16_000, 5_500))
        self.named: Mapping[str, Case] = {
            "a large PNG with transparency": self._with(_bomb(9_400, 9_400, 8, 6, 4)),
            "a large PNG of 16 bits": self._with(_bomb(9_400, 9_400, 16, 0, 1)),
            "a large PNG of 16 bits and transparency": self._with(_bomb(9_400, 9_400, 16, 6, 4)),
            "a large PNG of a palette": self._with(_bomb(9_400, 9_400, 1, 3, 1)),
            "a large PNG of one bit": self._with(_bomb(9_400, 9_400, 1, 0, 1)),
            "a huge PNG": self._with(_bomb(2_000_000, 10, 1, 0, 1)),
            "a larger PNG": self._with(_bomb(30_000, 30_000, 1, 0, 1)),
            "a high PNG": self._with(_bomb(1, 80_000_000 >> 6, 1, 0, 1)),
            "a large JPEG": self._with(_file(large, "JPEG", progressive=True)),
            "a large WebP": self._with(_file(large, "WEBP")),
            "a large BMP": self._with(
                b"BM" + bytes(8) + struct.pack("<IIiiHH", 54, 40, 9_400, 9_400, 1, 24) + bytes(24)
            ),
            "a PPM": self._with(netpbm),
            "a large TIFF": self._with(_file(large, "TIFF", compression="tiff_lzw")),
            "a large GIF": self._with(_file(Image.new("L", large.size), "GIF")),
            "nothing": self._with(b""),
            "a text": self._with(b"x" * 1000),
            "a name of 300 characters": self._with(self._good) | {ALSO: b"x" * 300 + b".png"},
            "a name of controls": self._with(self._good) | {ALSO: b"\x1b]0;x\x07.png"},
            "a name of zeros": self._with(self._good) | {ALSO: b"a\0b.png"},
            "a name that is none": self._with(self._good) | {ALSO: b"\xff.png"},
            "a FIFO": {FILE: Special(), GOOD: self._good},
            "endless": {FILE: Special("/dev/zero"), GOOD: self._good},
            "nowhere": {FILE: Special("nowhere"), GOOD: self._good},
            "itself": {FILE: Special(FILE), GOOD: self._good},
            "a folder": {f"{FILE}/x.txt": b"", GOOD: self._good},
        }

    def _with(self, content: bytes) -> dict[str, bytes | Special]:
        return {FILE: content, GOOD: self._good}

    def case(self, chance: random.Random) -> Case:
        """Return an image, damaged, beside a good one."""
        whole = chance.choice(self._examples)
        if whole.startswith(b"\x89PNG") and chance.random() < 0.6:
            return self._with(_in_chunks(whole, chance))
        return self._with(mutations.in_bytes(whole, chance))

    def read(self, folder: Path) -> str:
        """Classify it, a good one and further names; the good one is always answered."""
        names = [str(folder / FILE), str(folder / GOOD)]
        if (folder / ALSO).exists():
            names.insert(0, (folder / ALSO).read_bytes().decode(errors="surrogateescape"))
        found = list(classify(_Network(), expand(names), resize=True))  # type: ignore[arg-type]
        assert found[-1].label is not None, "the good image was not answered"
        ours = found[-2]
        pixels, faults, _ = decode.decode([folder / FILE], SIDE, 3)
        assert (ours.error is None) == (not faults), f"{ours.error} but {faults}"
        if ours.error is not None:
            raise Refused(f"{FILE}: {ours.error}")
        for one in found[:-2]:
            if one.error and (len(one.error) > 300 or not one.error.isprintable()):
                raise Refused(f"{FILE}: {one.error}")
        return f"{ours.label} {ours.probability} {pixels.tobytes().hex()}"


def _in_chunks(content: bytes, chance: random.Random) -> bytes:
    """Return a PNG with damages that its checksums do not show."""
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    index = chance.randrange(len(chunks))
    kind, data = chunks[index]
    if kind == b"IDAT" and chance.random() < 0.7:
        data = zlib.compress(mutations.in_bytes(zlib.decompress(data), chance))
    else:
        data = mutations.in_bytes(data, chance)
    chunks[index] = (kind, data)
    if chance.random() < 0.2:
        chunks.insert(chance.randrange(len(chunks)), chance.choice(chunks))
    return content[:8] + b"".join(_chunk(*chunk) for chunk in chunks)
