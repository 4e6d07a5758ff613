"""Features of a network, tapped by module path while it runs."""

import difflib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from torch import Tensor, fx, nn
from torch.utils.hooks import RemovableHandle

from rolekd.errors import InputError


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
                near = difflib.get_close_matches(path, modules, n=3, cutoff=0.4)
                raise InputError(
                    f"tap {path}: the network has no such module; "
                    + (f"did you mean {', '.join(near)}?" if near else "see its module paths")
                )
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
