import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rolekd.sources import images
from rolekd.sources.images import UnreadableError, WrongSizeError, read


def _file(image: Image.Image, kind: str = "PNG", **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file


def _gradient(width: int, height: int) -> Image.Image:
    across = np.linspace(0, 255, width).astype(np.uint8)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = across
    pixels[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    return Image.fromarray(pixels)


def test_a_square_of_the_wanted_size_is_untouched():
    image = _gradient(16, 16)
    assert np.array_equal(read(_file(image), 16, 3), np.asarray(image))


def test_the_centre_of_the_longer_side_is_kept():
    image = np.asarray(_gradient(48, 16))
    assert np.array_equal(read(_file(Image.fromarray(image)), 16, 3), image[:, 16:32])
    tall = np.ascontiguousarray(image.transpose(1, 0, 2))
    assert np.array_equal(read(_file(Image.fromarray(tall)), 16, 3), tall[16:32])


def test_it_is_resizing_of_the_shorter_side_and_a_centre_crop():
    image = _gradient(90, 60)
    two_steps = image.resize((30, 20), Image.Resampling.BICUBIC).crop((5, 0, 25, 20))
    difference = read(_file(image), 20, 3).astype(int) - np.asarray(two_steps)
    # the middle of the two rules is the same; at a crop's edge the filter sees more of the image
    assert np.abs(difference[:, 2:-2]).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "LA", "RGBA", "PA", "I;16"])
def test_every_mode_becomes_rgb_and_gray(mode):
    gray = Image.new("L", (9, 9), 255)
    image = Image.new("I;16", (9, 9), 0xFF80) if mode == "I;16" else gray.convert(mode)
    if mode == "PA":
        image = image.convert("RGBA")
    assert np.array_equal(read(_file(image), 9, 3), np.full((9, 9, 3), 255))
    assert np.array_equal(read(_file(image), 9, 1), np.full((9, 9, 1), 255))


def test_sixteen_bits_keep_the_high_byte():
    values = np.array([[0, 255, 256, 0x7FFF], [0x8000, 0xFEFF, 0xFF00, 0xFFFF]], np.uint16)
    square = np.repeat(values, 2, 0)
    assert read(_file(Image.fromarray(square)), 4, 1)[..., 0].tolist() == (square >> 8).tolist()


def test_cmyk_photos_have_their_colours():
    red = Image.new("RGB", (16, 16), (200, 30, 40)).convert("CMYK")
    found = read(_file(red, "JPEG", quality=95), 16, 3)
    assert np.abs(found.astype(int) - (200, 30, 40)).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_lies_on_white(kind):
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert (read(_file(clear, kind, **options), 8, 3) == 255).all()
    half = read(_file(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), kind, **options), 8, 3)
    assert np.abs(half.astype(int) - 127).max() <= 1


def test_a_transparent_palette_lies_on_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 90, 90, 90])
    assert (read(_file(image, transparency=1), 4, 3) == 255).all()
    assert (read(_file(image, transparency=0), 4, 3) == 90).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright(orientation):
    upright = np.asarray(_gradient(32, 32))
    # how a camera that notes this orientation stores what it saw
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = _file(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(read(file, 32, 3), upright)


def test_large_jpegs_are_as_if_decoded_whole():
    image = _gradient(1024, 768)
    small = read(_file(image, "JPEG", quality=95), 32, 3).astype(int)
    whole = read(_file(image), 32, 3)
    assert np.abs(small - whole).max() <= 4


def test_another_size_is_refused_on_request():
    image = _gradient(64, 64)
    whole = read(_file(image, "JPEG", quality=95), 64, 3, resize=False)
    assert np.array_equal(whole, read(_file(image, "JPEG", quality=95), 64, 3))
    with pytest.raises(WrongSizeError, match="is 64x64 pixels, not 16x16"):
        read(_file(image, "JPEG"), 16, 3, resize=False)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_tiny_and_thin_images_are_enlarged(size):
    assert read(_file(Image.new("RGB", size, (5, 6, 7))), 8, 3).tolist() == [[[5, 6, 7]] * 8] * 8


def test_damaged_bytes_are_unreadable_or_an_image_never_another_error():
    generator = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        whole = np.frombuffer(_file(_gradient(20, 20), kind).getvalue(), np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            damaged[generator.integers(0, len(whole), 6)] = generator.integers(0, 256, 6)
            file = io.BytesIO(damaged[: generator.integers(1, len(whole) + 1)].tobytes())
            try:
                assert read(file, 8, 3).shape == (8, 8, 3)
            except UnreadableError as error:
                assert str(error)
                assert "\n" not in str(error)


@pytest.mark.timeout(20)
def test_pipes_devices_and_impossible_names_are_unreadable(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name, reason in {
        "pipe.png": "is a pipe or a device",
        "device.png": "is a pipe or a device",
        "x" * 300: "File name too long",
        "zero\0byte.png": "no file can have this name",
        ".": "Is a directory",
    }.items():
        with pytest.raises(UnreadableError, match=reason):
            read(tmp_path / name, 8, 3)


def test_files_of_any_kind_are_bounded(tmp_path, monkeypatch):
    content = _file(_gradient(20, 20)).getvalue()
    (tmp_path / "a.png").write_bytes(content)
    monkeypatch.setattr(images, "MOST_BYTES", len(content) - 1)
    for file in (tmp_path / "a.png", io.BytesIO(content)):
        with pytest.raises(UnreadableError, match=r"has .* bytes"):
            read(file, 8, 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "progressive", "scaled"])
def test_pixels_are_bounded_before_they_are_decoded(monkeypatch, kind):
    options = {"progressive": True} if kind == "progressive" else {}
    file = _file(
        _gradient(640, 400), "JPEG" if kind in ("progressive", "scaled") else kind, **options
    )
    read(file, 8, 3)
    # a JPEG is decoded at an eighth, unless it is progressive
    monkeypatch.setattr(images, "MOST_PIXELS", 80 * 50 - 1 if kind == "scaled" else 640 * 400 - 1)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("was decoded"))
    with pytest.raises(UnreadableError, match=r"is \d+x\d+ pixels, more than .*; scale it down"):
        read(file, 8, 3)


def test_a_large_baseline_jpeg_is_read_for_it_is_decoded_small(monkeypatch):
    monkeypatch.setattr(images, "MOST_PIXELS", 80 * 50)
    assert read(_file(_gradient(640, 400), "JPEG"), 8, 3).shape == (8, 8, 3)


def test_a_progressive_jpeg_of_many_scans_is_refused():
    content = _file(_gradient(20, 20), "JPEG", progressive=True).getvalue()
    last = content.rindex(b"\xff\xda")
    with pytest.raises(UnreadableError, match=r"progressive JPEG of \d+ scans"):
        read(io.BytesIO(content[:last] + content[last:-2] * 200 + content[-2:]), 8, 3)


def test_another_size_is_refused_without_decoding(monkeypatch):
    file = _file(_gradient(640, 400))
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("was decoded"))
    with pytest.raises(WrongSizeError, match="is 640x400 pixels, not 8x8"):
        read(file, 8, 3, resize=False)


@pytest.mark.parametrize("mode", ["RGBA", "P", "I;16", "L", "CMYK"])
def test_many_rows_are_made_plain_as_few_are(monkeypatch, mode):
    gray = Image.fromarray((np.arange(300 * 7) * 31 % 65536).astype(np.uint16).reshape(300, 7))
    colours = _gradient(7, 300).convert("RGBA")
    colours.putalpha(Image.linear_gradient("L").resize((7, 300)))
    image = gray if mode == "I;16" else colours.convert("RGB" if mode == "CMYK" else "RGBA")
    image = image if mode in ("I;16", "RGBA") else image.convert(mode)
    file = _file(image, "JPEG" if mode == "CMYK" else "PNG")
    few = [read(file, 7, channels) for channels in (1, 3)]
    monkeypatch.setattr(images, "_ROWS", 10_000)
    for one, channels in zip(few, (1, 3), strict=True):
        assert np.array_equal(one, read(file, 7, channels))


_MEMORY = """
import re, sys
from pathlib import Path
from rolekd.sources import images
images.read(Path(sys.argv[1]), 32, 3)
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]))
"""


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("WEBP", "RGB")])
def test_the_largest_image_takes_no_more_memory_than_is_said(tmp_path, kind, mode):
    path = tmp_path / "large"
    options = {"lossless": True, "method": 0} if kind == "WEBP" else {"compress_level": 1}
    Image.new(mode, (8000, 5000)).save(path, kind, **options)
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, path], capture_output=True, text=True, check=False
    )
    assert 4 * images.MOST_PIXELS < int(done.stdout) < images.PEAK_BYTES, done.stderr


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "AVIF"])
def test_other_formats_give_the_same_picture(kind):
    image = _gradient(64, 48)
    options = {"quality": 100, "subsampling": "4:4:4"} if kind == "AVIF" else {}
    found = read(_file(image, kind, **options), 16, 3).astype(int)
    # a GIF has 256 colours, an AVIF loses a little
    most = {"TIFF": 0, "GIF": 20, "AVIF": 4}[kind]
    assert np.abs(found - read(_file(image), 16, 3)).max() <= most


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "AVIF"])
def test_of_several_frames_the_first_is_read(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    file = _file(frames[0], kind, save_all=True, append_images=frames[1:])
    red, _, blue = read(file, 8, 3).reshape(-1, 3).mean(0)
    assert red > 250
    assert blue < 5


@pytest.mark.parametrize("values", [np.float32([[0.5]]), np.int32([[2**20]]), np.int32([[-1]])])
def test_pixels_of_other_numbers_than_bytes_are_refused(values):
    file = _file(Image.fromarray(np.repeat(values, 9).reshape(3, 3)), "TIFF")
    with pytest.raises(UnreadableError, match="not of 8 or 16 bits"):
        read(file, 8, 3)


def test_a_jpeg_is_decoded_smaller_up_to_a_limit(monkeypatch):
    file = _file(_gradient(640, 400), "JPEG")
    monkeypatch.setattr(images, "MOST_PIXELS", 80 * 50)
    assert read(file, 8, 3).shape == (8, 8, 3)
    monkeypatch.setattr(images, "MOST_REDUCED", 640 * 400 - 1)
    with pytest.raises(UnreadableError, match="is 640x400 pixels, more than 255,999"):
        read(file, 8, 3)


def test_a_jpeg_over_pillows_own_limit_is_decoded_smaller(monkeypatch):
    """Its limit is for what is decoded whole."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read(_file(_gradient(640, 400), "JPEG"), 8, 3).shape == (8, 8, 3)
    with pytest.raises(UnreadableError, match=r"has more than 40,000,000 pixels; scale it down$"):
        read(_file(_gradient(640, 400)), 8, 3)


def _heic() -> io.BytesIO:
    return io.BytesIO(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100))


def test_heic_without_its_package_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    images._reads_heic.cache_clear()
    with pytest.raises(UnreadableError, match="is HEIC; pip install pillow-heif, or"):
        read(_heic(), 8, 3)
    images._reads_heic.cache_clear()


def test_heic_is_read_with_its_package():
    heif = pytest.importorskip("pillow_heif", reason="the extra rolekd[heic] is not installed")
    heif.register_heif_opener()
    file = _file(_gradient(64, 48), "HEIF", quality=100)
    difference = read(file, 16, 3).astype(int) - read(_file(_gradient(64, 48)), 16, 3)
    assert np.abs(difference).max() <= 8
