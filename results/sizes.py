"""What an image side costs: work, time and memory of the networks, float and low-bit, compared.

    python results/sizes.py [--fast]          # Markdown; --fast: the work alone, which is exact
    python results/sizes.py --json sizes.json # the raw rows, too

Seconds are for 1,000 images on one thread: a float network's evaluation, its training in batches of
32, and the exported W4A4 student; memory is the peak of the process.
"""

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from rolekd.export import measure, session
from rolekd.export.write import export
from rolekd.models import build, stems
from rolekd.quantize import convert, lower
from rolekd.quantize.size import network_size

SIDES = (28, 32, 48, 64, 96, 128, 160, 224, 256)
NETWORKS = (
    ("resnet8", 16),
    ("resnet18", 64),
    ("torchvision:mobilenet_v3_small", None),
    ("torchvision:resnet18", None),
)
BATCH, CLASSES, HALF = 32, 10, (0.5, 0.5, 0.5)
_SECONDS = 1.0  # of each measurement, at least one pass


def work(name: str, width: int | None, side: int) -> dict[str, Any]:
    """Return what is exact: the multiply-accumulates of an image, and what the stem does."""
    network = _network(name, width, side)
    return {
        "side": side,
        "network": name if width is None else f"{name}, width {width}",
        "stem": stems.describe(network),
        "mmacs": network_size(network, (3, side, side)).multiply_accumulates / 1e6,
    }


def costs(name: str, width: int | None, side: int) -> dict[str, float]:
    """Return seconds of 1,000 images, and megabytes; to be called in a process of its own."""
    torch.set_num_threads(1)
    network, images = _network(name, width, side), torch.randn(BATCH, 3, side, side)
    labels = torch.arange(BATCH) % CLASSES
    optimizer = torch.optim.Adam(network.parameters())

    def evaluate() -> None:
        with torch.inference_mode():
            network.eval()(images)

    def train() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network.train()(images), labels).backward()
        optimizer.step()

    found = {"evaluated": _per_thousand(evaluate), "trained": _per_thousand(train)}
    found["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found | {"student": _student(network, side)}


def _student(network: torch.nn.Module, side: int) -> float:
    low = convert(network, weight_bits=4, activation_bits=4, quantizer="lsq", ends=8)
    with torch.no_grad():
        low.train()(torch.randn(8, 3, side, side))
    lowered = lower(low.eval(), mean=HALF, std=HALF, image_size=(side, side))
    with tempfile.TemporaryDirectory() as folder:
        path, classes = Path(folder) / "net.onnx", [str(number) for number in range(CLASSES)]
        export(lowered, path, classes=classes, target="cpu", resize=False, metadata={})
        return measure.of_one_image({"student": session.load(path)})["student"].median


def _network(name: str, width: int | None, side: int) -> torch.nn.Module:
    return build(name, classes=CLASSES, channels=3, image_size=(side, side), width=width, seed=0)


def _per_thousand(step: Any) -> float:
    step()
    count, began = 0, time.perf_counter()
    while not count or time.perf_counter() - began < _SECONDS:
        step()
        count += 1
    return 1000 * (time.perf_counter() - began) / (count * BATCH)


def main() -> None:
    """Print the table."""
    fast = "--fast" in sys.argv
    columns = ["side", "network", "stem", "10⁶ multiply-accumulates"]
    if not fast:
        columns += ["float, s", "training, s", "W4A4 file, s", "memory, MB"]
    sys.stdout.write(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n")
    rows = []
    # each in a process of its own: memory is a largest value
    context = multiprocessing.get_context("spawn")
    for name, width in NETWORKS:
        for side in SIDES:
            row = work(name, width, side)
            if not fast:
                with context.Pool(1) as pool:
                    row |= pool.apply(costs, (name, width, side))
            rows.append(row)
            cells = [side, row["network"], row["stem"], f"{row['mmacs']:,.1f}"]
            if not fast:
                cells += [f"{row[key]:.2f}" for key in ("evaluated", "trained", "student")]
                cells.append(f"{row['megabytes']:,.0f}")
            sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
            sys.stdout.flush()
    if "--json" in sys.argv:
        target = Path(sys.argv[sys.argv.index("--json") + 1])
        target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
