"""Predictions for image files by an exported network, for `rolekd predict`."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rolekd.errors import InputError
from rolekd.export.session import Session
from rolekd.sources import images as files
from rolekd.sources.decode import KINDS
from rolekd.sources.listing import image_files

STDIN = "-"


@dataclass(frozen=True)
class Prediction:
    """The answer for one image; if it could not be read, only `error` is set.

    Attributes:
        image: its path, or "-".
        label: name of the most probable class.
        probability: of that class, 0..1.
        probabilities: of all classes by name, the most probable first.
        error: what is wrong with the image.
    """

    image: str
    label: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] | None = None
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
        resize: bring images of another size to the network's, by the rule of training
            (`rolekd.sources.images`), instead of reporting them.

    Raises:
        InputError: the network does not name its classes, or does not take square images.
    """
    side, channels = image_form(network)
    pending = iter(sources)
    while chunk := list(islice(pending, batch)):
        read = [_read(source, side, channels, resize) for source in chunk]
        images = [image for image in read if not isinstance(image, str)]
        answers = iter(network(np.stack(images))[1] if images else ())
        classes = network.classes
        for source, image in zip(chunk, read, strict=True):
            if isinstance(image, str):
                yield Prediction(source, error=image)
                continue
            yield answer(source, next(answers), classes)


def image_form(network: Session) -> tuple[int, int]:
    """Return the side in pixels and the channels of the images that a network takes.

    Raises:
        InputError: it does not name its classes, or does not take square images.
    """
    height, width, channels = network.image_shape
    if height != width:
        raise InputError(
            f"{network.origin}: takes images of {width}x{height}; only square ones are read, so "
            "train with square ones"
        )
    _ = network.classes
    return height, channels


def answer(image: str, shares: NDArray[np.float32], classes: Sequence[str]) -> Prediction:
    """Return the prediction for an image, given the probability of each class."""
    order = np.argsort(-shares, kind="stable").tolist()
    named = {classes[place]: round(float(shares[place]), 6) for place in order}
    label, probability = next(iter(named.items()))
    return Prediction(image, label, probability, named)


def expand(paths: Iterable[str]) -> Iterator[str]:
    """Yield the images behind files and folders.

    A folder gives its image files, sorted, then the links to folders in it, which are not followed.
    """
    for path in paths:
        # os.path, unlike Path, accepts names that a file cannot have
        if path != STDIN and os.path.isdir(path):  # noqa: PTH112
            found = image_files(Path(path))
            inside = [*map(str, found.images), *map(str, found.links)]
            # a link that was given is followed: what has no images is the folder behind it
            yield from inside or [os.path.realpath(path) if os.path.islink(path) else path]  # noqa: PTH114
        else:
            yield path


def _read(source: str, side: int, channels: int, resize: bool) -> NDArray[np.uint8] | str:
    """Return an image uint8 [side, side, channels], or what is wrong with it."""
    if source != STDIN and os.path.isdir(source):  # noqa: PTH112
        if os.path.islink(source):  # noqa: PTH114
            return "a link to a folder, which is not followed; name the folder itself"
        return f"contains no {KINDS} image"
    try:
        file = sys.stdin.buffer if source == STDIN else Path(source)
        return files.read(file, side, channels, resize=resize)
    except files.UnreadableError as error:
        return f"cannot be read: {error}"
    except files.WrongSizeError as error:
        return f"{error}; give --resize to crop and scale it as in training"
