"""The form of a deployed network: an input of images, two outputs, metadata that fits them.

A file may be intact and still not be a network that we can run: every caller relies on these
checks, made once when the file is opened.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnxruntime

from rolekd.errors import InputError

IMAGE_KEY = "rolekd.image"
CLASSES_KEY = "classes"
INPUT, OUTPUTS = "image", ("logits", "probabilities")
MOST_SIDE = 2048  # pixels, as of the images that a network is trained with


@dataclass(frozen=True)
class Form:
    """What a network takes and gives.

    Attributes:
        accepted: (height, width, channels) of the images that it takes; None: of any size.
        image: (height, width, channels) for which it was trained.
        classes: their names; None: the file does not have them.
    """

    accepted: tuple[int | None, ...]
    image: tuple[int, int, int]
    classes: tuple[str, ...] | None


def form(runtime: onnxruntime.InferenceSession, metadata: Mapping[str, str], origin: str) -> Form:
    """Return the form of a network; one that we cannot run is an `InputError` with `origin`."""
    inputs, outputs = runtime.get_inputs(), {one.name: one.shape for one in runtime.get_outputs()}
    if [one.name for one in inputs] != [INPUT] or not set(OUTPUTS) <= outputs.keys():
        raise InputError(
            f"{origin}: does not take {INPUT} and give {' and '.join(OUTPUTS)}; export it again"
        )
    shape = inputs[0].shape
    if inputs[0].type != "tensor(uint8)" or len(shape) != 4:
        raise InputError(f"{origin}: does not take images, uint8 [N, H, W, C]; export it again")
    accepted = tuple(size if isinstance(size, int) else None for size in shape[1:])
    image = accepted
    if None in accepted:
        image = tuple(_json(metadata, IMAGE_KEY, origin))
    if len(image) != 3 or not all(type(n) is int and 0 < n <= MOST_SIDE for n in image):
        raise InputError(
            f"{origin}: takes images of {'x'.join(map(str, image))}; export a network that was "
            f"trained with at most {MOST_SIDE} pixels a side"
        )
    height, width, channels = (int(size or 0) for size in image)
    return Form(accepted, (height, width, channels), _classes(metadata, outputs, origin))


def _classes(
    metadata: Mapping[str, str], outputs: Mapping[str, list[Any]], origin: str
) -> tuple[str, ...] | None:
    if CLASSES_KEY not in metadata:
        return None
    names = _json(metadata, CLASSES_KEY, origin)
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{origin}: its metadata {CLASSES_KEY} are not names; export it again")
    count = outputs[OUTPUTS[0]][-1] if outputs[OUTPUTS[0]] else None
    if isinstance(count, int) and count != len(names):
        raise InputError(
            f"{origin}: names {len(names)} classes but has {count} outputs; export it again"
        )
    return tuple(names)


def _json(metadata: Mapping[str, str], key: str, origin: str) -> list[Any]:
    try:
        found = json.loads(metadata.get(key, "null"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise InputError(f"{origin}: its metadata {key} is not a list; export it again")
    return found
