"""Dead quantisers: all their values are on one level, so they pass no information on."""

import copy

import torch
from torch import Tensor, nn

from rolekd.quantize.quantizer import ActivationQuantizer, WeightQuantizer


@torch.no_grad()
def dead(network: nn.Module, images: Tensor) -> list[str]:
    """Return the paths of a low-bit network's dead quantisers, in the order in which they run.

    Args:
        network: What `convert` returned; it does not change. A float network has none.
        images: A batch of its images, float32 [B, C, H, W].
    """
    kinds = (WeightQuantizer, ActivationQuantizer)
    if not any(isinstance(module, kinds) for module in network.modules()):
        return []
    watched = copy.deepcopy(network).eval()  # without its compiled form, which hooks would break
    found: dict[str, bool] = {}

    def look_at(path: str, module: nn.Module) -> None:
        def look(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            found[path] = bool(output.min() == output.max()) and output.numel() > 1

        module.register_forward_hook(look)

    for path, module in watched.named_modules():
        if isinstance(module, kinds):
            look_at(path.removesuffix(".weight_quantizer"), module)
    watched(images)
    return [path for path, is_dead in found.items() if is_dead]
