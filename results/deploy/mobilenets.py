"""MobileNets as low-bit students: trained briefly on CIFAR-10, exported, and compared exactly.

For each network a float training, then LSQ students of 4 and 2 bits from its weights, as in
`train.py` beside this file (LSQ, since the blocks' linear ends also have negative values, which
DoReFa cuts off); each is exported and run on every test image. It takes minutes on one core.

    python results/deploy/mobilenets.py FOLDER_OF_CIFAR10 OUTPUT [STEPS [NETWORK...]]

writes OUTPUT/mobilenets.json; with `--ends 8` the students' first convolutions and linear layers
have 8 bits, `--bits 2` makes those of 2 bits alone.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from train import read, train

from rolekd.data.dataset import Dataset
from rolekd.export.verify import verify
from rolekd.export.write import export
from rolekd.models import build, copy_matching
from rolekd.quantize import convert, lower
from rolekd.quantize.convert import Ends
from rolekd.quantize.modules import set_pixels
from rolekd.quantize.size import network_size

NETWORKS = ("torchvision:mobilenet_v3_small", "torchvision:mobilenet_v2")
SHAPE: dict[str, Any] = {"classes": 10, "channels": 3, "image_size": (32, 32), "width": 1}


def main() -> None:
    """Train, export and compare all students."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("steps", type=int, nargs="?", default=300)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--ends", choices=("float", "8"), default="float")
    parser.add_argument("--bits", type=int, action="append")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    dataset, rows = read(given.source), []
    ends: Ends = 8 if given.ends == "8" else "float"
    for name in given.networks:
        teacher = train(fresh(name), dataset, given.steps, 0.1, 0)
        for bits in given.bits or (4, 2):
            student = convert(
                fresh(name), weight_bits=bits, activation_bits=bits, quantizer="lsq", ends=ends
            )
            set_pixels(student, dataset.mean, dataset.std)
            copy_matching(student, teacher)
            train(student, dataset, given.steps, 0.02, bits)
            what = {"network": name, "quantizer": "lsq", "bits": bits, "ends": ends}
            what["steps"] = given.steps
            what |= compare(student, dataset, given.output / "student.onnx")
            rows.append(what)
            print(json.dumps(rows[-1]), flush=True)  # noqa: T201
    (given.output / "mobilenets.json").write_text(json.dumps(rows, indent=1) + "\n")


def fresh(name: str) -> nn.Module:
    """Build a network whose BatchNorm follows a short training (MobileNetV3's own are slow)."""
    network = build(name, **SHAPE, seed=0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return network


def compare(student: nn.Module, dataset: Dataset, path: Path) -> dict[str, Any]:
    """Export a student; return how its file does on the test images."""
    integers = lower(
        student.eval(), mean=dataset.mean, std=dataset.std, image_size=dataset.image_size
    )
    summary = export(integers, path, classes=dataset.classes, metadata={})
    images, labels = dataset.split("test")
    found = verify(path, integers, images, layers=True)
    return {
        "images": found.images,
        "argmax_equal": found.argmax_equal,
        "first_map_that_differs": found.first_different,
        "largest_logit_difference": found.largest_difference,
        "logit_range": found.logit_range,
        "test_accuracy": float((found.predictions == labels).mean()),
        "bytes": summary.bytes,
        "bits_per_parameter": round(network_size(student, (3, 32, 32)).bits_per_parameter, 2),
        "forms": dict(Counter(summary.forms.values())),
        "inexact": summary.inexact,
    }


if __name__ == "__main__":
    main()
