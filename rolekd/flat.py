"""Tensors of the CPU as flat numpy arrays, for passes that numba compiled."""

import importlib
import importlib.util
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# of numba: sums within a chunk may change their order, which makes them vector code, the same in
# every run; NaN stays NaN
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "nsz", "contract"},
}
CHUNK = 4096  # values whose sum is taken in float32; that of chunks is in float64

_NUMBA = importlib.util.find_spec("numba") is not None
_MOST_THREADS = 4  # a compiled pass has one; with more than these, torch's many are faster


def fits(v: Tensor) -> bool:
    """Return whether compiled passes take a tensor: torch's operations do otherwise."""
    return (
        v.dtype is torch.float32
        and v.device.type == "cpu"
        and torch.get_num_threads() <= _MOST_THREADS
        and not torch.compiler.is_compiling()
        and _NUMBA
    )


def compiled(name: str) -> Any:
    """Return the module of compiled passes `name`; None where numba is not installed.

    GPU machines often have torch and nothing else: `fits` sends everything to torch there.
    """
    return importlib.import_module(name) if _NUMBA else None


def dense(v: Tensor) -> Tensor:
    """Return the tensor, or a copy, whose values lie in memory without gaps, in some order."""
    if v.is_contiguous() or (v.ndim == 4 and v.is_contiguous(memory_format=torch.channels_last)):
        return v.detach()
    return v.detach().contiguous()


def values(v: Tensor) -> NDArray[np.float32]:
    """Return the values of a dense tensor in the order of memory, a view."""
    array: NDArray[Any] = v.as_strided((v.numel(),), (1,)).numpy()
    return array
