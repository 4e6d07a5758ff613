"""Where a training runs: the device's name in params.yaml becomes a torch device."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

import torch

from rolekd import processes
from rolekd.errors import InputError, RunError, one_line

VISIBLE = "CUDA_VISIBLE_DEVICES"
# parameters of mallopt(3), from glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def resolve(name: str) -> torch.device:
    """Return the device called "auto" (a GPU if there is one), "cpu" or "cuda".

    It leaves the GPU untouched, so that the process can still fork. Under torchrun each process
    of a machine has its own GPU.

    Raises:
        InputError: There is no GPU, or there are fewer GPUs than processes.
    """
    # queries the driver's management library, which does not open the GPU
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    there = torch.cuda.is_available()
    if not there:
        # every optimiser step asks again, and looking for the missing library takes 0.2 ms
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK")
    if name == "cuda" and not there:
        raise InputError("device cuda: PyTorch finds no GPU here; set device to cpu or auto")
    if name == "cpu" or not there:
        return torch.device("cpu")
    number = processes.local_rank()
    if number >= torch.cuda.device_count():
        raise InputError(
            f"device {name}: {torch.cuda.device_count()} GPUs, but more processes; "
            "lower --nproc-per-node"
        )
    return torch.device("cuda", number)


def gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES.

    It leaves them untouched, so that the process can still fork.
    """
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return [str(number) for number in range(torch.cuda.device_count())]
    return [name.strip() for name in visible.split(",")][: torch.cuda.device_count()]


def set_up(name: str, threads: int) -> torch.device:
    """Prepare this process for trainings on the device called `name`; see `resolve`."""
    torch.set_num_threads(threads)
    keep_memory()
    device = resolve(name)
    make_reproducible(device)
    return device


def keep_memory() -> None:
    """Keep freed memory in this process, for the next step's maps.

    glibc, if it is the allocator, gives blocks of 32 MiB and more back to the system and maps
    them anew, which clears their pages each time. The maps of a ResNet18 at batch 128 are that
    large: a training step of `rolekd bench step` took a tenth to a fifth longer.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)  # never


def make_reproducible(device: torch.device) -> None:
    """Make a GPU compute the same bits in every run; a CPU does so by itself."""
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)
    # cuBLAS reads it when it is first used: fixed workspaces make its sums reproducible
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)


@contextlib.contextmanager
def explained(what: str, batch_size: int) -> Iterator[None]:
    """Turn failures of a GPU while the block trains into one line.

    Args:
        what: The network that is trained.
        batch_size: Of the training.

    Raises:
        RunError: Its memory is full, or it has failed.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"training: the GPU's memory is full ({what}, batches of {batch_size}); lower "
            "training.batch_size, raise training.accumulate, or lower machine.workers_per_gpu"
        ) from error
    except torch.AcceleratorError as error:
        raise RunError(
            f"training: the GPU failed ({one_line(error)}); look at it (nvidia-smi, dmesg), then "
            "run again: the work continues where it was"
        ) from error


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return the context in which networks run: bfloat16 if asked for, weights float32.

    "auto" is bfloat16 on a GPU, where it is faster and as accurate (results/precision.md).
    """
    if precision == "float32" or (precision == "auto" and device.type != "cuda"):
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
