"""Networks from elsewhere: torchvision's by name, your own by entry point.

Your package declares, in the entry point group `rolekd.models`, a function

    def my_network(*, classes: int, channels: int, image_size: tuple[int, int], width: int)

that returns a module from float32 [N, channels, H, W] to logits [N, classes]; one without a width
leaves that argument out.
"""

import inspect
import warnings
from collections.abc import Callable

from torch import nn

from rolekd import plugins
from rolekd.errors import InputError, did_you_mean
from rolekd.models import stems

PREFIX = "torchvision:"
_GROUP = "rolekd.models"


def names() -> list[str]:
    """Return the networks that installed packages declare."""
    return plugins.names(_GROUP)


def declared(name: str) -> Callable[..., nn.Module]:
    """Return the function behind an entry point."""
    function: Callable[..., nn.Module] = plugins.load(_GROUP, name, f"model {name}")
    return function


def has_width(function: Callable[..., nn.Module]) -> bool:
    """Return whether a declared function takes a width."""
    kinds = inspect.signature(function).parameters.values()
    return any(kind.name == "width" or kind.kind is kind.VAR_KEYWORD for kind in kinds)


def torchvision_names() -> list[str]:
    """Return the names that torchvision has for its classifiers, without the prefix."""
    from torchvision import models

    return [str(name) for name in models.list_models(module=models)]


def torchvision_model(
    name: str, *, classes: int, channels: int, image_size: tuple[int, int]
) -> nn.Module:
    """Build a torchvision classification network, fitted to channels, classes and image size.

    On small images the pooling behind the first convolution goes, if there is one by the name
    maxpool, then the stride of that convolution, as `stems.left_out` says.
    """
    from torchvision import models

    known = torchvision_names()
    if name not in known:
        hint = did_you_mean(PREFIX + name, [PREFIX + other for other in known])
        raise InputError(f"model {PREFIX}{name}: unknown to torchvision; {hint}")
    with warnings.catch_warnings(action="ignore"):  # of initial weights that may change one day
        model: nn.Module = models.get_model(name, weights=None, num_classes=classes)
    path, stem = next(
        (path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d)
    )
    left_out = stems.left_out(image_size)
    if left_out and isinstance(getattr(model, "maxpool", None), nn.MaxPool2d):
        model.set_submodule("maxpool", nn.Identity())
        left_out -= 1
    model.set_submodule(path, _stem(stem, channels, keep_size=left_out > 0))
    return model


def _stem(source: nn.Conv2d, channels: int, *, keep_size: bool) -> nn.Conv2d:
    """Return a first convolution like `source` for other images."""
    height, width = (min(size, 3) if keep_size else size for size in source.kernel_size)
    return nn.Conv2d(
        channels,
        source.out_channels,
        (height, width),
        stride=1 if keep_size else source.stride,  # type: ignore[arg-type]
        padding=(height // 2, width // 2) if keep_size else source.padding,  # type: ignore[arg-type]
        bias=source.bias is not None,
    )
