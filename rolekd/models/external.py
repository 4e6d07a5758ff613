"""Networks that others wrote: torchvision's by name, the user's own by entry point.

A package of the user declares, under the entry point group `rolekd.models`, a function

    def my_network(*, classes: int, channels: int, image_size: tuple[int, int], width: int)

that returns a module from float32 [N, channels, H, W] to logits [N, classes].
"""

from collections.abc import Callable

from torch import nn

from rolekd import plugins
from rolekd.errors import InputError, did_you_mean

PREFIX = "torchvision:"
_GROUP = "rolekd.models"
_SMALL = 96  # pixels; networks for 224 would leave nothing of smaller images


def names() -> list[str]:
    """Return the networks that installed packages declare."""
    return plugins.names(_GROUP)


def declared(name: str) -> Callable[..., nn.Module]:
    """Return the function behind an entry point."""
    function: Callable[..., nn.Module] = plugins.load(_GROUP, name, f"model {name}")
    return function


def torchvision_model(
    name: str, *, classes: int, channels: int, image_size: tuple[int, int], width: int
) -> nn.Module:
    """Build a torchvision classification network, fitted to channels, classes and image size.

    On images below 96 pixels the first convolution keeps its resolution and the pooling after
    it, if any, goes. `width` has no meaning here: these networks have their own.
    """
    del width
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        hint = did_you_mean(PREFIX + name, [PREFIX + other for other in known])
        raise InputError(f"model {PREFIX}{name}: unknown to torchvision; {hint}")
    model: nn.Module = models.get_model(name, weights=None, num_classes=classes)
    path, stem = next(
        (path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d)
    )
    small = max(image_size) < _SMALL
    model.set_submodule(path, _stem(stem, channels, keep_size=small))
    if small and isinstance(getattr(model, "maxpool", None), nn.MaxPool2d):
        model.set_submodule("maxpool", nn.Identity())
    return model


def _stem(source: nn.Conv2d, channels: int, *, keep_size: bool) -> nn.Conv2d:
    """Return a first convolution like `source` for other images."""
    height, width = (min(size, 3) if keep_size else size for size in source.kernel_size)
    return nn.Conv2d(
        channels,
        source.out_channels,
        (height, width),
        stride=1 if keep_size else source.stride,  # type: ignore[arg-type]
        padding=(height // 2, width // 2),
        bias=source.bias is not None,
    )
