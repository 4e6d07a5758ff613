"""Where a training runs: the device's name in params.yaml becomes a torch device."""

import contextlib
import os

import torch

from rolekd import processes
from rolekd.errors import InputError


def resolve(name: str) -> torch.device:
    """Return the device called "auto" (a GPU where there is one), "cpu" or "cuda".

    It leaves the GPU untouched, so that the process can still fork. Under torchrun each process
    of a machine has a GPU of its own.

    Raises:
        InputError: There is no GPU, or fewer than processes.
    """
    # asks the driver's management library, which does not open the GPU
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError("device cuda: PyTorch finds no GPU here; set device to cpu or auto")
    if name == "cpu" or not there:
        return torch.device("cpu")
    number = processes.local_rank()
    if number >= torch.cuda.device_count():
        raise InputError(
            f"device {name}: {torch.cuda.device_count()} GPUs for more processes than that; "
            "lower --nproc-per-node"
        )
    return torch.device("cuda", number)


def make_reproducible(device: torch.device) -> None:
    """Have a GPU compute the same bits in every run; a CPU does so by itself."""
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)
    # cuBLAS reads it when it is first used: fixed workspaces make its sums reproducible
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return the context in which networks run: bfloat16 where asked for, weights float32."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
