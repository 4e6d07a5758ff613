"""Predictions for image files by an exported network: what `rolekd predict` does."""

import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from rolekd.errors import InputError
from rolekd.export.session import Session

STDIN = "-"
# what Pillow raises for files that are no images, cut short, damaged or absurdly large
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
_CLASSES_KEY = "classes"


@dataclass(frozen=True)
class Prediction:
    """The answer for one image; where it could not be read, only `error` says something.

    Attributes:
        image: its path, or "-".
        label: name of the most probable class.
        probability: of that class, 0..1.
        error: what is wrong with the image.
    """

    image: str
    label: str | None = None
    probability: float | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the values as a JSON object."""
        return asdict(self)


def classify(
    network: Session, sources: Iterable[str], batch: int = 64, resize: bool = False
) -> Iterator[Prediction]:
    """Yield a prediction for every image, in order; at most `batch` images are held at once.

    Args:
        network: the exported network.
        sources: paths of images, or "-" for one image from standard input; see `expand`.
        batch: images in one run.
        resize: scale images of another size instead of reporting them.

    Raises:
        InputError: the network does not name its classes.
    """
    _, height, width, channels = network.runtime.get_inputs()[0].shape
    classes = _classes(network)
    pending = iter(sources)
    while chunk := list(islice(pending, batch)):
        read = [_read(source, (height, width, channels), resize) for source in chunk]
        images = [image for image in read if not isinstance(image, str)]
        answers = iter(network(np.stack(images))[1] if images else ())
        for source, image in zip(chunk, read, strict=True):
            if isinstance(image, str):
                yield Prediction(source, error=image)
                continue
            share: NDArray[np.float32] = next(answers)
            best = int(share.argmax())
            yield Prediction(source, classes[best], round(float(share[best]), 6))


def expand(paths: Iterable[str]) -> Iterator[str]:
    """Yield the images behind files and folders; a folder gives its image files, sorted."""
    suffixes = Image.registered_extensions()
    for path in paths:
        if path != STDIN and Path(path).is_dir():
            files = (file for file in sorted(Path(path).rglob("*")) if file.is_file())
            yield from (str(file) for file in files if file.suffix.lower() in suffixes)
        else:
            yield path


def _read(source: str, shape: tuple[int, int, int], resize: bool) -> NDArray[np.uint8] | str:
    """Return an image uint8 [H, W, C] as the network takes it, or what is wrong with it."""
    height, width, channels = shape
    try:
        content = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
        with Image.open(io.BytesIO(content)) as opened:
            image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
    except _BROKEN as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"cannot be read: {' '.join(reason.split())}"
    if image.size != (width, height):
        if not resize:
            return (
                f"is {image.width}x{image.height} pixels, the model takes {width}x{height}; "
                "give --resize to scale it"
            )
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(shape)


def _classes(network: Session) -> list[str]:
    try:
        return [str(name) for name in json.loads(network.metadata[_CLASSES_KEY])]
    except (KeyError, ValueError) as error:
        raise InputError("the model does not name its classes; export it again") from error
