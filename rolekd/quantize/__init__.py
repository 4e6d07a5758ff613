"""Low-bit networks: quantisers, conversion of float models, integer-valued evaluation."""

from rolekd.quantize.convert import convert
from rolekd.quantize.size import Size, size

__all__ = ["Size", "convert", "size"]
