"""How much a network shrinks its images before its first block, by their size.

Networks for 224 pixels halve them five times, to maps of 7x7. Of smaller images this would leave
one or two pixels, so first the pooling behind the stem goes, then the stem's own stride: where both
can go, images of 24 to 256 pixels end in maps of three to eight.
"""

from torch import nn

WHOLE = 96  # pixels from which on nothing is left out
_HALF = 48  # pixels below which both are


def left_out(image_size: tuple[int, int]) -> int:
    """Return how many of the first two halvings a network leaves out: 0, 1 or 2.

    Args:
        image_size: (height, width) in pixels; the longer side counts.
    """
    side = max(image_size)
    return 0 if side >= WHOLE else 1 if side >= _HALF else 2


def describe(network: nn.Module) -> str:
    """Return in words what a network's stem does."""
    stem = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    if stem is None:
        return "no stem"
    kernel = "x".join(map(str, stem.kernel_size))
    # the name of torchvision's and of ours
    pooled = isinstance(getattr(network, "maxpool", None), nn.MaxPool2d)
    return f"stem {kernel} of stride {stem.stride[0]}{', then pooling' if pooled else ''}"
