"""Networks by name, and the features that distillation taps from them."""

from rolekd.models.capture import Taps
from rolekd.models.folding import folded
from rolekd.models.pointwise import as_products
from rolekd.models.weights import copy_matching
from rolekd.models.zoo import build, default_taps

__all__ = [
    "Taps",
    "as_products",
    "build",
    "capture",
    "catalogue",
    "copy_matching",
    "default_taps",
    "external",
    "folded",
    "normalized",
    "stems",
    "weights",
    "zoo",
]
