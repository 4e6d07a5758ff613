"""`rolekd bench step`: what quantisation, distillation and batches cost in a training step.

All kinds of steps run in one process, in interleaved rounds on the same images; ratio 1 is the step
of a CIFAR ResNet18 in float32 without a teacher. With one thread seconds are processor time, which
other work on the machine does not stretch as it does wall time: beside two trainings `ii` took 2.1
or 7.1 times the base.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from rich.console import Group
from rich.table import Table
from torch import nn

from benchmarks import against as commits
from benchmarks import machine
from rolekd import presets, yamlfiles
from rolekd.augment.handmade import RandAugment
from rolekd.data import dataset as datasets
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import EpochProgress, Objective
from rolekd.params import BaseAugmentParams, Params, TrainingParams, parse
from rolekd.train import devices, roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.training import Training

FLOAT = "float32, no teacher"
_BATCH = 128
_PACKAGES = ("torch", "numpy")
_START = EpochProgress(epoch=0, epochs=1)


def run(
    width: int = 64, rounds: int = 7, threads: int = 1, against: str | None = None
) -> dict[str, Any]:
    """Measure.

    Args:
        width: Of the ResNet18s.
        rounds: Number of steps of each kind.
        threads: Of torch.
        against: A commit whose steps of the small students are compared with today's.

    Raises:
        InputError: There is no such commit.
    """
    earlier = commits.run(against, rounds, threads) if against else None
    devices.set_up("cpu", threads)
    dataset = _images()
    wide = parse(
        {side: {"model": {"name": "resnet18", "width": width}} for side in ("teacher", "student")},
        "the bench",
    )
    seconds = _interleaved(_steps(wide, dataset), rounds, threads)
    base = seconds[FLOAT]
    return {
        "machine": machine.describe(_PACKAGES),
        "width": width,
        "batch_size": _BATCH,
        "rounds": rounds,
        "threads": threads,
        "steps": [
            {"step": name, "seconds": round(value, 4), "ratio": round(value / base, 3)}
            for name, value in seconds.items()
        ],
        "batches": _batches(dataset, rounds, threads),
        **({"against": earlier} if earlier else {}),
    }


def _images() -> Dataset:
    """Random images of CIFAR's shape: no step's time depends on what they show."""
    images = np.random.default_rng(0).integers(0, 256, (10 * _BATCH, 32, 32, 3), dtype=np.uint8)
    everything = np.arange(len(images))
    splits = dict.fromkeys(("search_train", "search_val", "train", "test"), everything)
    return datasets.assemble("random", images, everything % 10, tuple("0123456789"), splits)


def _steps(params: Params, dataset: Dataset) -> dict[str, Callable[[], object]]:
    """Return the kinds of steps by name."""
    teacher = roles.teacher(params.teacher, dataset, 0)
    halves = params.teacher.training.model_copy(update={"precision": "bfloat16"})
    single = params.teacher.training

    def untaught(network: nn.Module, training: TrainingParams) -> Callable[[], object]:
        return _step(network, Objective(), training, dataset)

    def low_bit() -> tuple[nn.Module, dict[str, Any]]:
        return roles.student(params.student, dataset, 0, teacher[0])

    steps = {
        FLOAT: untaught(roles.teacher(params.teacher, dataset, 0)[0], single),
        "W2A2": untaught(low_bit()[0], single),
        "float32, bfloat16": untaught(roles.teacher(params.teacher, dataset, 0)[0], halves),
        "W2A2, bfloat16": untaught(low_bit()[0], halves),
    }
    for name, loss, training in (
        ("W2A2, soft labels", "soft", single),
        ("W2A2, soft labels, bfloat16", "soft", halves),
        ("W2A2, ii", "ii", single),
    ):
        student = low_bit()
        taught = params.distill.model_copy(update={"loss": loss})
        steps[name] = _step(
            student[0], Distillation(student, teacher, taught, 0), training, dataset
        )
    return steps


def _step(
    network: nn.Module, objective: Objective, params: TrainingParams, dataset: Dataset
) -> Callable[[], object]:
    """Return a function that trains `network` on one batch."""
    normalize = Normalize(dataset)
    batches = Batches(dataset, "train", _BATCH, 0, normalize)
    augment_at = constant(make_engine(BaseAugmentParams(), dataset, 1), None)
    training = Training(network.train(), objective, batches, augment_at, params)
    images, labels = dataset.split("train")
    batch = normalize(images[:_BATCH]), torch.from_numpy(labels[:_BATCH])
    return lambda: training.step(*batch, _START)


def _interleaved(
    steps: Mapping[str, Callable[[], object]], rounds: int, threads: int
) -> dict[str, float]:
    """Return the median seconds of each step; the first round warms up and does not count."""
    clock = time.process_time if threads == 1 else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            began = clock()
            step()
            taken[name].append(clock() - began)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def _batches(dataset: Dataset, rounds: int, threads: int) -> dict[str, Any]:
    """Time batches (order, augmentation, normalisation) and steps of the small CIFAR student."""
    preset = presets.find("cifar10-small")
    params = parse(yamlfiles.parse(preset.text, preset.name), preset.name)
    teacher = roles.teacher(params.teacher, dataset, 0)
    student = roles.student(params.student, dataset, 0, teacher[0])
    objective = Distillation(student, teacher, params.distill, 0)
    step = _step(student[0], objective, params.student.training, dataset)
    batches = Batches(dataset, "train", _BATCH, 0, Normalize(dataset))
    # RandAugment: two operations on every image, more than any learned policy draws
    augment_at = constant(make_engine(params.augment, dataset, threads), RandAugment())
    epochs = iter(range(rounds + 1))

    def epoch() -> None:
        number = next(epochs)
        for _ in batches.epoch(number, augment_at(number)):
            pass

    found = _interleaved({"epoch": epoch, "step": step}, rounds, threads)
    batch = found["epoch"] / batches.per_epoch
    return {
        "student": f"{params.student.model.name} width {params.student.model.width}, W2A2",
        "batch_ms": round(1000 * batch, 3),
        "step_ms": round(1000 * found["step"], 3),
        "share": round(batch / (batch + found["step"]), 4),
    }


def table(result: dict[str, Any]) -> Group:
    """Return the result as tables for a terminal."""
    batches = result["batches"]
    shown = Table(
        title=f"Training step of a ResNet18, width {result['width']}, batch "
        f"{result['batch_size']}, {result['threads']} threads, on {result['machine']['processor']}",
        caption=f"Batches take {batches['share']:.1%} of a step with {batches['student']} "
        f"({batches['batch_ms']:.2f} and {batches['step_ms']:.1f} ms).",
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("step", "seconds", "ratio"):
        shown.add_column(heading, justify="left" if heading == "step" else "right")
    for row in result["steps"]:
        shown.add_row(row["step"], f"{row['seconds']:.3f}", f"{row['ratio']:.2f}")
    return Group(shown, *([commits.table(result["against"])] if "against" in result else []))
