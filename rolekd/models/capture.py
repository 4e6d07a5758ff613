"""Features of a network, tapped by module path while it runs."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, fx, nn
from torch.utils.hooks import RemovableHandle

from rolekd.errors import InputError, did_you_mean, one_line


class Taps:
    """Collect the outputs of named modules during each forward pass.

    Works on float models and on converted ones: a tap behind a ReLU gives the feature before
    the next quantiser.

        with Taps(model, ["stage1.0.relu2"]) as taps:
            logits = model(images)
            feature = taps.features["stage1.0.relu2"]

    Attributes:
        features: the outputs of the latest forward pass by path, in the order of `paths`.

    Raises:
        InputError: a path names no module that runs.
    """

    def __init__(self, model: nn.Module, paths: Sequence[str]) -> None:
        self.features: dict[str, Tensor] = {}
        self._paths = tuple(paths)
        modules = tappable(model)
        for path in self._paths:
            if path not in modules:
                hint = did_you_mean(path, modules)
                raise InputError(f"tap {path}: the network has no such module; {hint}")
        self._hooks = [self._attach(path, modules[path]) for path in self._paths]

    def _attach(self, path: str, module: nn.Module) -> RemovableHandle:
        def collect(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            self.features[path] = output

        return module.register_forward_hook(collect)

    def values(self) -> list[Tensor]:
        """Return the features in the order of the paths."""
        return [self.features[path] for path in self._paths]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self.features.clear()


def tappable(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules whose hooks fire: those that the forward pass really calls."""
    modules = {path: module for path, module in model.named_modules() if path}
    if isinstance(model, fx.GraphModule):
        called = {str(node.target) for node in model.graph.nodes if node.op == "call_module"}
        return {path: module for path, module in modules.items() if path in called}
    return modules


def shapes(model: nn.Module, image_size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tappable output for one image, by path, in order of execution.

    A module that runs several times has the place and shape of its last call, as its tap has.
    Outputs that are not tensors are left out. The model is left as it was.

    Raises:
        InputError: the model does not take images of this (height, width).
    """
    found: dict[str, tuple[int, ...]] = {}

    def keep(path: str, output: object) -> None:
        found.pop(path, None)
        if isinstance(output, Tensor):
            found[path] = tuple(output.shape[1:])

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: keep(path, output))
        for path, module in tappable(model).items()
    ]
    weight = next(model.parameters())
    stem = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    channels = 3 if stem is None else stem.in_channels
    training = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, channels, *image_size, device=weight.device))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise InputError(
            f"model {type(model).__name__}: does not take images of {image_size[0]}x"
            f"{image_size[1]} ({one_line(error)}); name its taps"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode
    return found
