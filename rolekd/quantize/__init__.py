"""Low-bit networks: quantisers, conversion of float models, integer-valued evaluation."""

from rolekd.quantize.convert import convert
from rolekd.quantize.integer import IntegerModel
from rolekd.quantize.lower import lower
from rolekd.quantize.size import Size

__all__ = [
    "IntegerModel",
    "Size",
    "changes",
    "convert",
    "dead",
    "integer",
    "lower",
    "modules",
    "operations",
    "quantizer",
    "size",
    "switch",
]
