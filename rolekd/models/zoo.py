"""Networks by name: the one place where a name of params.yaml becomes a module."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

import torch
from torch import nn

from rolekd.errors import InputError, did_you_mean
from rolekd.models import capture, external
from rolekd.models.alexnet import alexnet
from rolekd.models.resnet import resnet


@dataclass(frozen=True)
class Family:
    """How to build a network, and where distillation taps it."""

    build: Callable[..., nn.Module]
    taps: tuple[str, ...]


_MOST_TAPS = 4
# torch's own, which conversion leaves: the same taps for a float network and its low-bit form
_ACTIVATION = nn.ReLU.__module__
_OTHERS = (nn.BatchNorm2d.__module__, nn.MaxPool2d.__module__)
_FAMILIES = {
    "alexnet": Family(alexnet, ("relu1", "relu2", "relu5")),
    "resnet8": Family(partial(resnet, blocks=1), tuple(f"stage{s}.0.relu2" for s in range(1, 5))),
    "resnet18": Family(partial(resnet, blocks=2), tuple(f"stage{s}.1.relu2" for s in range(1, 5))),
}
OURS = tuple(_FAMILIES)
_WIDTH = 16  # where none is named
_ALL = "rolekd models lists them"


def build(
    name: str,
    *,
    classes: int,
    channels: int,
    image_size: tuple[int, int],
    width: int | None = None,
    seed: int,
) -> nn.Module:
    """Build a network that maps float32 images [N, channels, H, W] to logits [N, classes].

    Args:
        name: "resnet8", "resnet18", "alexnet", a name that an installed package declares (see
            `rolekd.models.external`), or "torchvision:" and a name of torchvision's.
        classes: number of classes.
        channels: 1 or 3.
        image_size: (height, width) in pixels.
        width: channels of the first stage, of networks that have it; None: see `width_of`.
        seed: of the initial weights; torch's global generator is left as it was.

    Raises:
        InputError: no network has this name.
    """
    builder = find(name)
    of_width = {"width": width or _WIDTH} if has_width(name) else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = builder(classes=classes, channels=channels, image_size=image_size, **of_width)
        if name in _FAMILIES:
            for module in model.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def default_taps(
    network: nn.Module, name: str, image_size: tuple[int, int] = (32, 32)
) -> tuple[str, ...]:
    """Return the module paths of a network's distillation features, float or converted.

    Ours: each stage after its ReLU. Others: the last activation of every resolution above 1x1,
    or where it has none, the last normalisation or pooling; of the coarsest four.

    Args:
        network: the built network.
        name: by which it was built.
        image_size: (height, width) of the images, which decides how many resolutions there are.

    Raises:
        InputError: the network has no such modules, so its taps must be named.
    """
    if name in _FAMILIES:
        return _FAMILIES[name].taps
    modules = dict(network.named_modules())
    last: dict[tuple[int, int], str] = {}
    for path, shape in capture.shapes(network, image_size).items():
        if not _is_map(shape, image_size):
            continue
        size = shape[1], shape[2]
        if any(prod(size) >= prod(other) for other in last if other != size):
            continue
        if _is_of(modules[path], _ACTIVATION) or (
            _is_of(modules[path], *_OTHERS)
            and not _is_of(modules[last.get(size, path)], _ACTIVATION)
        ):
            last[size] = path
    if not last:
        raise InputError(f"model {name}: does not have default taps; name module paths instead")
    return tuple(last.values())[-_MOST_TAPS:]


def _is_of(module: nn.Module, *homes: str) -> bool:
    """Return whether the class of a module, or one that it derives from, is in a file."""
    return any(kind.__module__ in homes for kind in type(module).__mro__)


def _is_map(shape: tuple[int, ...], image_size: tuple[int, int]) -> bool:
    """Return whether a shape is [C, H, W] with the proportions of the image, above 1x1."""
    if len(shape) != 3 or shape[1] * shape[2] == 1:
        return False
    (height, width), (rows, columns) = image_size, shape[1:]
    # sizes are rounded, to within one row and one column; [H, W, C] is none
    return abs(rows * width - columns * height) <= max(height, width)


def find(name: str) -> Callable[..., nn.Module]:
    """Look up what builds the named network; an unknown name is an `InputError`."""
    if name in _FAMILIES:
        return _FAMILIES[name].build
    if name.startswith(external.PREFIX):
        return partial(external.torchvision_model, name.removeprefix(external.PREFIX))
    declared = external.names()
    if name in declared:
        return external.declared(name)
    raise InputError(f"model {name}: unknown network; {_hint(name, {*_FAMILIES, *declared})}")


def _hint(name: str, known: set[str]) -> str:
    """Return the remedy for an unknown name: torchvision's own, or names that resemble it."""
    theirs = [external.PREFIX + other for other in external.torchvision_names()]
    if external.PREFIX + name in theirs:
        return f"did you mean {external.PREFIX}{name}?"
    return did_you_mean(name, sorted(known), did_you_mean(name, theirs, _ALL))


def has_width(name: str) -> bool:
    """Return whether the named network has a width; an unknown name is an `InputError`."""
    if name in _FAMILIES:
        return True
    return not name.startswith(external.PREFIX) and external.has_width(find(name))


def width_of(name: str, width: int | None) -> int | None:
    """Return the width of a network for which params.yaml names one, or None.

    Raises:
        InputError: One is named, and the network has none; or the name is unknown.
    """
    if has_width(name):
        return width or _WIDTH
    if width is not None:
        raise InputError(f"model.width {width}: {name} has none; set it to null")
    return None
