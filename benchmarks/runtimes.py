"""The runtimes of `rolekd bench infer`: each opens a file as a function of images."""

import ctypes
import importlib.util
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.together import Step

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # images -> logits

ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
_ARCH_PRCTL, _GET_PERMITTED, _TILES = 158, 0x1022, 1 << 18  # Linux, x86-64
_ASKING = "import onnxruntime; from benchmarks.runtimes import may_use_tiles as may; print(may())"


def absent(runtime: str) -> str | None:
    """Return what to do about a runtime that is not installed; None: it is there."""
    if importlib.util.find_spec(runtime) is not None:
        return None
    return f"{runtime} is not installed, so it is left out; `pip install {runtime}` measures it"


@cache
def start(runtime: str, path: Path, threads: int) -> Run:
    """Open an ONNX file for as many threads."""
    return {ONNXRUNTIME: _onnxruntime, OPENVINO: _openvino}[runtime](path, threads)


def step(_number: int, runtime: str, path: Path, images: NDArray[np.uint8]) -> Step:
    """Return what runs a batch on one thread, for processes that run side by side."""
    run = start(runtime, path, 1)

    def batch() -> int:
        run(images)
        return len(images)

    return batch


def amx_of_onnxruntime() -> bool | None:
    """Return whether onnxruntime's matrix products run on AMX here; None: nothing tells it.

    A process has to ask Linux for AMX's tiles, and onnxruntime does where it has kernels for them.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return None
    told = subprocess.run(
        [sys.executable, "-c", _ASKING],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.strip() == "True"


def may_use_tiles() -> bool:
    """Return whether this process has asked for AMX's tiles, and may use them."""
    permitted = ctypes.c_uint64()
    ctypes.CDLL(None).syscall(_ARCH_PRCTL, _GET_PERMITTED, ctypes.byref(permitted))
    return bool(permitted.value & _TILES)


def _onnxruntime(path: Path, threads: int) -> Run:
    from rolekd.export import session  # not where it is asked who has asked for tiles

    started = session.start_session(path.read_bytes(), str(path), threads=threads)
    return partial(_first, started)


def _first(started: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = started.run(["logits"], {"image": images})[0]
    return logits


def _openvino(path: Path, threads: int) -> Run:
    """Let OpenVINO read QuantizeLinear and DequantizeLinear, which it turns to its own int8."""
    import openvino

    core = openvino.Core()
    # unpinned, as onnxruntime's threads are: two processes would share one core
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    request = core.compile_model(core.read_model(path), "CPU", options).create_infer_request()

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = request.infer({"image": images})["logits"]
        return logits

    return run
