"""Speed, memory and load time of networks, measured side by side."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rolekd.export.session import Session

_ROUNDS = 20  # of one image: short ones, since what others do on the machine changes quickly

# Linux keeps a parent's peak in getrusage across exec, so the peak is read from /proc.
_LOADING = """
import json, re, sys, time
from pathlib import Path
import numpy as np
import onnxruntime
path, shape = sys.argv[1], json.loads(sys.argv[2])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 3
def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
before, began = peak(), time.perf_counter()
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
loaded = time.perf_counter() - began
session.run(None, {"image": np.zeros(shape, np.uint8)})
print(json.dumps({"load_seconds": loaded, "peak_bytes": peak() - before}))
"""


@dataclass(frozen=True)
class Latency:
    """Of one call, in milliseconds."""

    median: float
    p95: float


def latencies(
    calls: Mapping[str, Callable[[], object]], *, seconds: float, rounds: int = 5
) -> dict[str, Latency]:
    """Time each call for about `seconds`, in interleaved rounds so that drifts touch all alike."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            call()  # caches still hold data of the previous call
            end = time.perf_counter() + seconds / rounds
            while True:
                began = time.perf_counter()
                call()
                now = time.perf_counter()
                found[name].append(1000 * (now - began))
                if now > end:
                    break
    return {name: _latency(times) for name, times in found.items()}


def of_one_image(networks: Mapping[str, Session], *, seconds: float = 1.0) -> dict[str, Latency]:
    """Time each network on one random image of its shape, side by side, `seconds` each.

    This is the latency that a report shows, a version is registered with and a gate compares.
    """
    draw = np.random.default_rng(0).integers
    calls = {
        name: partial(network, draw(0, 256, (1, *network.image_shape), dtype=np.uint8))
        for name, network in networks.items()
    }
    return latencies(calls, seconds=seconds, rounds=_ROUNDS)


def _latency(times: list[float]) -> Latency:
    rank = min(len(times) - 1, int(0.95 * len(times)))
    return Latency(statistics.median(times), sorted(times)[rank])


def footprint(path: Path | str, image_shape: tuple[int, int, int], batch: int) -> dict[str, Any]:
    """Load an ONNX file in a fresh process and run one batch of uint8 images.

    Returns "load_seconds" and "peak_bytes", the growth of the process's peak memory (Linux).
    """
    command = [sys.executable, "-c", _LOADING, str(path), json.dumps([batch, *image_shape])]
    found: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found
