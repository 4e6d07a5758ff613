"""`rolekd bench augment`: the engine against Pillow and torchvision, in one run."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.table import Table

from benchmarks import machine, peers, pillow, together
from benchmarks.peers import Shape
from rolekd import processes
from rolekd.augment import draws
from rolekd.augment import recipe as recipes
from rolekd.augment.engine import Engine
from rolekd.augment.handmade import RandAugment
from rolekd.augment.policy import Policy
from rolekd.augment.recipe import Augmentation, Base

# The policy that schedule 0 of the authors' released logs uses at epoch 150 of 200.
POLICY = Policy(
    [1, 5, 6, 1, 4, 3, 9, 8, 10, 5, 0, 2, 0, 9, 7, 0, 0, 3, 1, 0, 3, 4, 4, 2, 10, 7, 2, 4, 1, 5,
     4, 0, 2, 0, 1, 0, 0, 2, 1, 5, 0, 4, 10, 1, 5, 2, 1, 4, 0, 5, 0, 2, 5, 5, 3, 6, 0, 6, 1, 3]
)  # fmt: skip
BASE = Base(crop_padding=4, horizontal_flip=True, cutout=16)
FILL = (125, 123, 114)
RANDAUGMENT = RandAugment(2, 9)
RGB_32 = (32, 32, 3)
CASES: tuple[tuple[Shape, int], ...] = (
    (RGB_32, 512),
    (RGB_32, 10_000),
    ((28, 28, 1), 512),
    ((96, 96, 3), 512),
    ((224, 224, 3), 128),
)
ROUNDS = 3
_PACKAGES = ("numpy", "numba", "pillow", "torch", "torchvision")


def run(seconds: float = 1.0) -> dict[str, Any]:
    """Measure; `seconds` each, in three interleaved rounds of which the median counts."""
    result: dict[str, Any] = {"machine": machine.describe(_PACKAGES), "seconds": seconds}
    result["exact"] = _compare_with_pillow()
    result["compilation"] = _compilation()
    result["memory"] = _in_fresh_process(_MEMORY) if sys.platform == "linux" else None
    result["training_step"] = _training_step(seconds)
    cores = result["machine"]["cores"]
    with together.started(cores) as processes:
        rates = _medians(_measurements(processes, seconds))
    result["policy"] = [_policy_case(shape, batch, rates) for shape, batch in CASES]
    result["randaugment"] = [
        _randaugment_case(shape, batch, rates) for shape, batch in CASES if shape == RGB_32
    ]
    result["gpu"] = _gpu(seconds)
    return result


def _measurements(processes: together.Together, seconds: float) -> dict[str, Callable[[], float]]:
    """Return every measurement, by its name: a call gives images per second."""
    todo: dict[str, Callable[[], float]] = {}
    pipeline = partial(processes.rate, peers.step, seconds, base=BASE)
    for shape, batch in CASES:
        fill = FILL[: shape[2]]
        todo[f"policy {shape} {batch}"] = partial(engine_rate, POLICY, shape, batch, seconds)
        todo[f"pillow {shape}"] = partial(pipeline, "pillow", shape, policy=POLICY, fill=fill)
        if shape == RGB_32:
            todo[f"randaugment {shape} {batch}"] = partial(
                engine_rate, RANDAUGMENT, shape, batch, seconds
            )
    for kind in ("pil", "tensor"):
        todo[f"torchvision {kind}"] = partial(pipeline, "torchvision", RGB_32, fill=FILL, kind=kind)
    return todo


def _medians(todo: dict[str, Callable[[], float]]) -> dict[str, float]:
    rounds = [{key: measure() for key, measure in todo.items()} for _ in range(ROUNDS)]
    return {key: statistics.median(found[key] for found in rounds) for key in todo}


def engine_rate(
    augmentation: Augmentation, shape: Shape, batch: int, seconds: float, device: str = "cpu"
) -> float:
    """Return images per second of the engine on all cores, or on a GPU."""
    import torch

    engine = Engine(FILL[: shape[2]], *_base(), threads=processes.cores())
    images = torch.from_numpy(peers.images(batch, shape)).to(device)
    engine.apply(images, augmentation, 0)
    _wait(device)
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        engine.apply(images, augmentation, rounds)
        rounds += 1
        _wait(device)
    return rounds * batch / (time.perf_counter() - began)


def _wait(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def _base() -> tuple[int, bool, int]:
    return BASE.crop_padding, BASE.horizontal_flip, BASE.cutout


def _policy_case(shape: Shape, batch: int, rates: dict[str, float]) -> dict[str, Any]:
    ours, theirs = rates[f"policy {shape} {batch}"], rates[f"pillow {shape}"]
    return {
        "images": "x".join(map(str, shape)),
        "batch": batch,
        "engine": round(ours),
        "pillow": round(theirs),
        "times_pillow": round(ours / theirs, 1),
    }


def _randaugment_case(shape: Shape, batch: int, rates: dict[str, float]) -> dict[str, Any]:
    ours = rates[f"randaugment {shape} {batch}"]
    pil, tensor = rates["torchvision pil"], rates["torchvision tensor"]
    return {
        "images": "x".join(map(str, shape)),
        "batch": batch,
        "engine": round(ours),
        "torchvision_pil": round(pil),
        "torchvision_tensor": round(tensor),
        "times_pil": round(ours / pil, 1),
        "times_tensor": round(ours / tensor, 1),
    }


def _compare_with_pillow(count: int = 500) -> dict[str, Any]:
    """Augment the same draws with both: the speeds are of the same work."""
    different = 0
    for shape, _ in CASES:
        images, fill = peers.images(count, shape), FILL[: shape[2]]
        made = recipes.of(POLICY, *shape[:2])
        drawn = draws.plan(made, BASE, 1, count, *shape[:2])
        expected = pillow.augment(images, made, BASE, fill, drawn, range(count))
        different += int((Engine(fill, *_base()).apply(images, POLICY, 1) != expected).sum())
    return {"images": count * len(CASES), "different_values": different}


_FIRST_USE = """
import json, sys, time
import numpy as np, numba
from rolekd.augment.engine import Engine
from rolekd.augment.policy import Policy
policy = Policy(json.loads(sys.argv[1]))
images = np.zeros((128, 32, 32, 3), np.uint8)
began = time.perf_counter()
Engine((0, 0, 0), 4, True, 16).apply(images, policy, 0)
print(json.dumps(time.perf_counter() - began))
"""

_MEMORY = """
import json, re, sys
from pathlib import Path
import numpy as np
from rolekd.augment.engine import Engine
from rolekd.augment.policy import Policy

def kilobytes(key):
    return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

images = np.full((10_000, 32, 32, 3), 7, np.uint8)
engine = Engine((125, 123, 114), 4, True, 16)
policy = Policy(json.loads(sys.argv[1]))
engine.apply(images[:64], policy, 0)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from now
before = kilobytes("VmRSS")
out = engine.apply(images, policy, 1)
beyond = (kilobytes("VmHWM") - before) * 1024
print(json.dumps({"batch_bytes": images.nbytes, "times_batch": round(beyond / images.nbytes, 2)}))
"""


def _in_fresh_process(code: str, **variables: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(list(POLICY))],
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def _compilation() -> dict[str, float]:
    """Time the first use after an install, and in a later process; imports of numba aside."""
    with tempfile.TemporaryDirectory() as folder:
        first, later = (_in_fresh_process(_FIRST_USE, NUMBA_CACHE_DIR=folder) for _ in range(2))
    return {"first_use_seconds": round(first, 2), "later_process_seconds": round(later, 3)}


def _training_step(seconds: float) -> dict[str, Any]:
    """Share of the augmentation in a step of a small low-bit student, without its teacher."""
    import torch
    from torch.nn import functional as F

    from rolekd.models.zoo import build
    from rolekd.params import StudentParams
    from rolekd.quantize.convert import convert

    student, size, batch = StudentParams(), (32, 32), 128
    model = build(
        student.model.name, classes=10, channels=3, image_size=size, width=student.model.width,
        seed=0,
    )  # fmt: skip
    model = convert(model, weight_bits=student.bits, activation_bits=student.bits)
    optimizer = torch.optim.Adam(model.parameters())
    engine, labels = Engine(FILL, *_base()), torch.arange(batch) % 10
    source = torch.from_numpy(peers.images(batch, (*size, 3)))
    times: list[tuple[float, float]] = []
    ends = time.perf_counter() + 3 * seconds
    while time.perf_counter() < ends or len(times) < 5:
        began = time.perf_counter()
        images = engine.apply(source, POLICY, len(times))
        augmented = time.perf_counter()
        loss = F.cross_entropy(model(images.permute(0, 3, 1, 2).float() / 255 - 0.5), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        times.append((augmented - began, time.perf_counter() - began))
    ours, whole = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "student": f"{student.model.name}, width {student.model.width}, {student.bits} bits",
        "batch": batch,
        "step_ms": round(1000 * whole, 2),
        "augmentation_ms": round(1000 * ours, 3),
        "share_percent": round(100 * ours / whole, 2),
    }


def _gpu(seconds: float) -> dict[str, Any] | None:
    import torch

    if not torch.cuda.is_available():
        return None
    rates = {
        f"{'x'.join(map(str, shape))} batch {batch}": round(
            engine_rate(POLICY, shape, batch, seconds, "cuda")
        )
        for shape, batch in CASES
    }
    return {"name": torch.cuda.get_device_name(), "images_per_second": rates}


_WORDS = ("augmentation", "peer")


def table(result: dict[str, Any]) -> Table:
    """Return the result as a table for a terminal."""
    head = result["machine"]
    compilation, memory, step = result["compilation"], result["memory"], result["training_step"]
    shown = Table(
        title=f"Augmented images per second, {head['cores']} cores of {head['processor']}",
        caption=f"{result['exact']['different_values']} values differ from Pillow's over "
        f"{result['exact']['images']} images. First use {compilation['first_use_seconds']} s, "
        f"later processes {compilation['later_process_seconds']} s. "
        f"Memory beyond the batch: {memory['times_batch'] if memory else '?'} times its size. "
        f"{step['share_percent']} % of a training step ({step['student']}). "
        f"GPU: {result['gpu'] or 'none'}.",
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("augmentation", "images", "batch", "rolekd", "peer", "peer's", "times"):
        shown.add_column(heading, justify="left" if heading in _WORDS else "right", no_wrap=True)
    for case in result["policy"]:
        shown.add_row(
            "policy", case["images"], f"{case['batch']:,}", f"{case['engine']:,}",
            "Pillow", f"{case['pillow']:,}", f"{case['times_pillow']}",
        )  # fmt: skip
    for case in result["randaugment"]:
        for kind in ("pil", "tensor"):
            shown.add_row(
                "RandAugment", case["images"], f"{case['batch']:,}", f"{case['engine']:,}",
                f"torchvision {kind}", f"{case[f'torchvision_{kind}']:,}",
                f"{case[f'times_{kind}']}",
            )  # fmt: skip
    return shown
