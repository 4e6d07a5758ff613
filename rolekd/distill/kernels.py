"""The Huber loss of many values on the CPU in one pass; its torch form stands beside its use."""

from typing import Any

import numba
import numpy as np
from torch import Tensor

from rolekd import flat
from rolekd.jit import entry, inner

_LOW, _HALF, _HIGH = np.float32(-1), np.float32(0.5), np.float32(1)
_ARRAY = numba.float32[::1]


def huber(differences: Tensor) -> float:
    """Clip dense differences to -1..1 in place; return the sum of their Huber losses."""
    return float(_huber(flat.values(differences)))


@inner(**flat.OPTIONS)
def _chunk(x: Any) -> Any:
    # with c the clipped x it is c (x - c / 2); NaN passes
    total = np.float32(0)
    for i in range(x.size):
        clipped = _LOW if x[i] < _LOW else x[i]
        clipped = _HIGH if clipped > _HIGH else clipped
        total += clipped * (x[i] - _HALF * clipped)
        x[i] = clipped
    return total


@entry(numba.float64(_ARRAY), **flat.OPTIONS)
def _huber(x: Any) -> Any:
    total = 0.0
    for start in range(0, x.size, flat.CHUNK):
        total += _chunk(x[start : start + flat.CHUNK])
    return total
