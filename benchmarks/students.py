"""Time steps of the small students with whatever rolekd is on the path; `--against` runs it twice.

`python benchmarks/students.py THREADS`, with PYTHONPATH set to a checkout, reads lines "NAME STEPS"
and answers each with a line: the median of so many steps of `STUDENTS[NAME]`, in milliseconds of
processor time.

Everything that determines a step's work is written here, since presets change; names that
differ in earlier commits are looked up.
"""

import importlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# name -> side and channels of the images, batch size, quantiser
STUDENTS = {
    "digits, lsq": (8, 1, 64, "lsq"),
    "digits, dorefa": (8, 1, 64, "dorefa"),
    "32x32, lsq": (32, 3, 128, "lsq"),
    "32x32, dorefa": (32, 3, 128, "dorefa"),
}
_WARM = 3  # steps that do not count: kernels are compiled, learned steps start
_LOSS = {"soft": 1.0, "rkd": 0.1}


def made(name: str) -> Callable[[], object]:
    """Return a function that trains the named student, ResNet8 of width 8 in W2A2, on a batch."""
    side, channels, count, quantizer = STUDENTS[name]
    params = _params(count, quantizer)
    dataset = _random(side, channels, 10 * count)
    roles: Any = importlib.import_module("rolekd.train.roles")
    distillation: Any = importlib.import_module("rolekd.distill.distillation")
    teacher = roles.teacher(params.teacher, dataset, 0)
    student = roles.student(params.student, dataset, 0, teacher[0])
    objective = distillation.Distillation(student, teacher, params.distill, 0)
    module = _step_module()
    module._BATCH = count  # a constant there, in every commit
    step: Callable[[], object] = module._step(
        student[0], objective, params.student.training, dataset
    )
    for _ in range(_WARM):
        step()
    return step


def main() -> None:
    """Answer until the input ends."""
    devices: Any = importlib.import_module("rolekd.train.devices")
    ready = getattr(devices, "set_up", None) or devices.prepare  # its name until 0.2.0
    ready("cpu", int(sys.argv[1]))
    steps: dict[str, Callable[[], object]] = {}
    for line in sys.stdin:
        name, _, count = line.rpartition(" ")
        if name not in steps:
            steps[name] = made(name)
        taken = statistics.median(_seconds(steps[name]) for _ in range(int(count)))
        sys.stdout.write(f"{1000 * taken}\n")
        sys.stdout.flush()


def _params(count: int, quantizer: str) -> Any:
    params: Any = importlib.import_module("rolekd.params")
    student = {"quantizer": quantizer, "bits": 2, "residual": "quantized", "overrides": {}}
    if "ends" in params.StudentParams.model_fields:
        student["ends"] = "float"
    key = "loss" if "loss" in params.DistillParams.model_fields else "terms"
    training = {"batch_size": count, "optimizer": "adam", "precision": "float32"}
    return params.parse(
        {
            "teacher": {"model": {"name": "resnet8", "width": 16}, "training": training},
            "student": {
                "model": {"name": "resnet8", "width": 8}, "training": training, **student,
            },
            "distill": {key: _LOSS},
        },
        "the bench",
    )  # fmt: skip


def _random(side: int, channels: int, count: int) -> Any:
    datasets: Any = importlib.import_module("rolekd.data.dataset")
    shape = (count, side, side, channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    everything = np.arange(count)
    splits = dict.fromkeys(("search_train", "search_val", "train", "test"), everything)
    return datasets.assemble("random", images, everything % 10, tuple("0123456789"), splits)


def _step_module() -> Any:
    try:
        return importlib.import_module("benchmarks.step")
    except ModuleNotFoundError:  # where it was until the benchmarks left the library
        return importlib.import_module("rolekd.bench.step")


def _seconds(step: Callable[[], object]) -> float:
    """Take a step; return the processor's seconds, which other work does not stretch as much."""
    began = time.process_time()
    step()
    return time.process_time() - began


if __name__ == "__main__":
    main()
