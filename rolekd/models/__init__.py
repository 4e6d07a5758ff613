"""Networks by name, and the features that distillation taps from them."""

from rolekd.models.features import Taps
from rolekd.models.weights import copy_matching
from rolekd.models.zoo import build, default_taps

__all__ = ["Taps", "build", "copy_matching", "default_taps", "features", "weights", "zoo"]
