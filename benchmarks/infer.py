"""`rolekd bench infer`: the deployed student against the ways in which others would deploy it.

Peers of the integer graph, all on the same raw images and in the same run: the same network in
float32 on onnxruntime, onnxruntime's own static 8-bit form of that, the same form on OpenVINO, and
plain PyTorch. All also run with as many processes as threads: two with one thread each serve more
than one with two.
"""

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from rich.table import Table
from torch import nn

from benchmarks import machine, runtimes, together
from benchmarks.runtimes import ONNXRUNTIME, OPENVINO
from rolekd.data import dataset as datasets
from rolekd.data.dataset import Dataset
from rolekd.errors import InputError
from rolekd.export import measure
from rolekd.export.floats import Deployed, export_float, quantize_statically
from rolekd.export.verify import verify
from rolekd.export.write import export
from rolekd.models.zoo import build
from rolekd.params import Ends, Target
from rolekd.quantize.convert import convert
from rolekd.quantize.lower import lower
from rolekd.quantize.modules import set_pixels
from rolekd.train import roles

OURS, FLOAT, STATIC, EAGER = "rolekd", "onnxruntime float32", "onnxruntime int8", "PyTorch float32"
OTHER = "OpenVINO int8"  # of the file of STATIC
_PACKAGES = ("onnxruntime", "onnx", "torch", "numpy")
_IMAGES = 512  # for calibration, and for timing where nothing is trained
_BATCH = 250
_ROUNDS = 5
_PROCESSES = 2
_AMX = {True: ", onnxruntime's products on AMX", False: ", without AMX", None: ""}


@dataclass(frozen=True)
class _Subject:
    """A student, the float network of the same form, and images; `trained` if accuracy counts."""

    student: nn.Module
    float_network: nn.Module
    dataset: Dataset
    trained: bool


@dataclass(frozen=True)
class _Deployment:
    """A file and what runs it."""

    runtime: str
    path: Path

    def start(self, threads: int = 1) -> runtimes.Run:
        return runtimes.start(self.runtime, self.path, threads)


class Trained(TypedDict, total=False):
    """Files of trained networks, all three or none: weights, and the prepared data of both."""

    student: Path | None
    float_network: Path | None
    data: Path | None


def run(
    seconds: float = 3.0,
    bits: int = 2,
    batches: tuple[int, ...] = (1, 8, 64),
    threads: tuple[int, ...] = (1, 2),
    target: Target = "cpu",
    ends: Ends = "float",
    openvino: bool = True,
    **trained: Unpack[Trained],
) -> dict[str, Any]:
    """Measure; `seconds` for each network, batch size and number of threads or processes.

    OpenVINO is measured where it is installed, unless it is not wanted.

    With weights of a trained student and of a float network, and the prepared data set of both,
    accuracies on the test split stand beside the speed. Without them a CIFAR ResNet18 of width
    64 with random weights, `bits` and `ends` runs on random images: speed does not depend on
    weights. With 8-bit `ends` it does what static int8 does, whose ends have 8 bits, too.

    Raises:
        InputError: some of the three are missing, or they do not belong together.
    """
    subject = _trained(**trained) if any(trained.values()) else _untrained(bits, ends)
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            name: Path(folder) / f"{index}.onnx" for index, name in enumerate((OURS, FLOAT, STATIC))
        }
        exported = _export(subject, paths, target)
        deployed = {name: _Deployment(ONNXRUNTIME, path) for name, path in paths.items()}
        packages, left_out = [*_PACKAGES], runtimes.absent(OPENVINO) if openvino else None
        if openvino and left_out is None:
            packages.append(OPENVINO)
            deployed[OTHER] = _Deployment(OPENVINO, paths[STATIC])
        cases = [
            case for count in threads for case in _speed(subject, deployed, batches, count, seconds)
        ]
        cases += _side_by_side(subject, deployed, batches, seconds)
        files = [_file(name, path, subject, max(batches)) for name, path in paths.items()]
        if subject.trained:
            for entry in files:
                entry["test_accuracy"] = _accuracy(deployed[entry["network"]], subject.dataset)
    about = machine.describe(packages) | {"onnxruntime_amx": runtimes.amx_of_onnxruntime()}
    head = {"machine": about, "seconds": seconds, "target": target}
    return {**head, **exported, "cases": cases, "files": files, "left_out": left_out}


def _trained(
    student: Path | None = None, float_network: Path | None = None, data: Path | None = None
) -> _Subject:
    if student is None or float_network is None or data is None:
        raise InputError(
            "bench infer: give --student, --float-network and --data together, or none of them"
        )
    dataset = datasets.load(data)
    low, about = roles.load(student, dataset)
    full, about_full = roles.load(float_network, dataset)
    if "quantizer" not in about or "quantizer" in about_full:
        raise InputError(
            f"bench infer: --student {student} must be a low-bit student and --float-network "
            f"{float_network} a float network; give their weights that way round"
        )
    return _Subject(low, full, dataset, trained=True)


def _untrained(bits: int, ends: Ends) -> _Subject:
    """Return a ResNet18 whose BatchNorm statistics fit random images."""
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, 32, 32, 3), dtype=np.uint8)
    splits = ("search_train", "search_val", "train", "test")
    indices = {name: np.arange(_IMAGES) for name in splits}
    labels = np.arange(_IMAGES) % 10
    dataset = datasets.assemble("random", images, labels, tuple("0123456789"), indices)
    network = build("resnet18", classes=10, channels=3, image_size=(32, 32), width=64, seed=0)
    student = convert(network, weight_bits=bits, activation_bits=bits, ends=ends)
    set_pixels(student, dataset.mean, dataset.std)
    x = (torch.from_numpy(images[:64]).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.3
    with torch.no_grad():
        for module in (network, student):
            module.train()
            for _ in range(3):
                module(x)
    return _Subject(student.eval(), network.eval(), dataset, trained=False)


def _export(subject: _Subject, paths: dict[str, Path], target: Target) -> dict[str, Any]:
    dataset = subject.dataset
    preprocessing: dict[str, Any] = {
        "mean": dataset.mean,
        "std": dataset.std,
        "image_size": dataset.image_size,
    }
    integers = lower(subject.student, **preprocessing)
    labelled: dict[str, Any] = {"classes": dataset.classes, "metadata": {}}
    summary = export(integers, paths[OURS], target=target, **labelled)
    export_float(subject.float_network, paths[FLOAT], **preprocessing, **labelled)
    quantize_statically(paths[FLOAT], paths[STATIC], dataset.split("train")[0][:_IMAGES])
    checked = verify(paths[OURS], integers, dataset.split("test")[0])
    return {
        "forms": summary.forms,
        "images": checked.images,
        "argmax_equal": checked.argmax_equal,
        "largest_logit_difference": checked.largest_difference,
        "logit_range": checked.logit_range,
    }


def _speed(
    subject: _Subject,
    deployed: dict[str, _Deployment],
    batches: tuple[int, ...],
    threads: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """Time every network with each batch size, in interleaved rounds."""
    torch.set_num_threads(threads)
    started = {name: one.start(threads) for name, one in deployed.items()}
    dataset = subject.dataset
    eager = Deployed(subject.float_network, dataset.mean, dataset.std).eval()
    cases = []
    for batch in batches:
        images = np.ascontiguousarray(dataset.split("test")[0][:batch])
        calls: dict[str, Callable[[], object]] = {
            name: partial(run, images) for name, run in started.items()
        }
        calls[EAGER] = partial(eager, torch.from_numpy(images))
        with torch.inference_mode():
            found = measure.latencies(calls, seconds=seconds, rounds=_ROUNDS)
        cases += [
            {
                "network": name,
                "batch": batch,
                "threads": threads,
                "processes": 1,
                "median_ms": round(latency.median, 3),
                "p95_ms": round(latency.p95, 3),
                "images_per_second": round(1000 * batch / latency.median),
                "ours_is_times_faster": round(latency.median / found[OURS].median, 2),
            }
            for name, latency in found.items()
        ]
    return cases


def _side_by_side(
    subject: _Subject, deployed: dict[str, _Deployment], batches: tuple[int, ...], seconds: float
) -> list[dict[str, Any]]:
    """Let processes of one thread run the same file at the same time, files in turns."""
    cases = []
    with together.started(_PROCESSES) as processes:
        for batch in batches:
            images = np.ascontiguousarray(subject.dataset.split("test")[0][:batch])
            rounds = [
                {
                    name: processes.rate(
                        runtimes.step, seconds / _ROUNDS, one.runtime, one.path, images
                    )
                    for name, one in deployed.items()
                }
                for _ in range(_ROUNDS)
            ]
            rates = {name: statistics.median(found[name] for found in rounds) for name in deployed}
            cases += [
                {
                    "network": name,
                    "batch": batch,
                    "threads": 1,
                    "processes": _PROCESSES,
                    "images_per_second": round(rate),
                    "ours_is_times_faster": round(rates[OURS] / rate, 2),
                }
                for name, rate in rates.items()
            ]
    return cases


def _file(name: str, path: Path, subject: _Subject, batch: int) -> dict[str, Any]:
    dataset = subject.dataset
    found = measure.footprint(path, (*dataset.image_size, dataset.channels), batch)
    return {
        "network": name,
        "bytes": path.stat().st_size,
        "load_ms": round(1000 * found["load_seconds"], 1),
        "peak_megabytes": round(found["peak_bytes"] / 1e6, 1),
    }


def _accuracy(deployed: _Deployment, dataset: Dataset) -> float:
    run = deployed.start()
    images, labels = dataset.split("test")
    right = 0
    for begin in range(0, len(images), _BATCH):
        batch = np.ascontiguousarray(images[begin : begin + _BATCH])
        right += int((run(batch).argmax(1) == labels[begin : begin + _BATCH]).sum())
    return right / len(images)


def table(result: dict[str, Any]) -> Table:
    """Return the result as a table for a terminal."""
    head, left_out = result["machine"], result["left_out"]
    files = "; ".join(
        f"{entry['network']}: {entry['bytes'] / 1e6:.2f} MB, loads in {entry['load_ms']} ms, "
        f"{entry['peak_megabytes']} MB at its peak"
        + (f", accuracy {entry['test_accuracy']:.4f}" if "test_accuracy" in entry else "")
        for entry in result["files"]
    )
    shown = Table(
        title=f"Speed on {head['processor']}{_AMX[head['onnxruntime_amx']]}",
        caption=f"Argmax equal to the integer evaluation on {result['argmax_equal']} of "
        f"{result['images']} images. {files}." + (f" {left_out}." if left_out else ""),
        title_justify="left",
        caption_justify="left",
    )
    for heading in (
        "network", "processes", "threads", "batch", "median ms", "p95 ms", "images/s", "rolekd is",
    ):  # fmt: skip
        shown.add_column(heading, justify="left" if heading == "network" else "right")
    for case in result["cases"]:
        shown.add_row(
            case["network"], str(case["processes"]), str(case["threads"]), str(case["batch"]),
            *(f"{case[key]:.2f}" if key in case else "" for key in ("median_ms", "p95_ms")),
            f"{case['images_per_second']:,}",
            f"{case['ours_is_times_faster']:.2f} times faster",
        )  # fmt: skip
    return shown
