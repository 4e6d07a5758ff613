"""A population as one batch, or its members one after another: seconds of a step of all.

    python -m results.vmap

`torch.func.vmap` over stacked weights of ResNet8s, forward and back, against a loop over the
members, on the same images, one thread. BatchNorm uses the batch's statistics and keeps none, since
vmap does not write to buffers: a real training would have to average them by hand.
"""

import copy
import statistics
import time

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from rolekd.display import say
from rolekd.models import zoo

_MEMBERS, _ROUNDS = 8, 15
Weights = dict[str, Tensor]


def main() -> None:
    """Print milliseconds."""
    torch.set_num_threads(1)
    for side, channels, width, count in ((8, 1, 16, 32), (32, 3, 16, 64)):
        loop, batched = _compare(side, channels, width, count)
        say(
            f"{side}x{side}, width {width}, batch {count}, {_MEMBERS} members: loop {loop:.1f} ms, "
            f"vmap {batched:.1f} ms, ratio {batched / loop:.2f}"
        )


def _compare(side: int, channels: int, width: int, count: int) -> tuple[float, float]:
    shape = {"classes": 10, "channels": channels, "image_size": (side, side), "width": width}
    members = [_without_buffers(zoo.build("resnet8", seed=s, **shape)) for s in range(_MEMBERS)]
    images = torch.randn(_MEMBERS, count, channels, side, side)
    labels = torch.randint(10, (_MEMBERS, count))
    weights, buffers = stack_module_state(members)
    base = copy.deepcopy(members[0]).to("meta")

    def loss(own: Weights, rest: Weights, batch: Tensor, true: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(base, (own, rest), (batch,)), true)

    together = vmap(grad(loss))

    def one_by_one() -> None:
        for member, batch, true in zip(members, images, labels, strict=True):
            nn.functional.cross_entropy(member(batch), true).backward()

    loop = _milliseconds(one_by_one)
    return loop, _milliseconds(lambda: together(weights, buffers, images, labels))


def _without_buffers(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return network.train()


def _milliseconds(action) -> float:  # type: ignore[no-untyped-def]
    taken = []
    for _ in range(_ROUNDS + 2):
        began = time.process_time()
        action()
        taken.append(1e3 * (time.process_time() - began))
    return statistics.median(taken[2:])


if __name__ == "__main__":
    main()
