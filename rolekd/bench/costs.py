"""What the teacher and the exported student of a finished run cost, measured here."""

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from rolekd.data import dataset as datasets
from rolekd.export import measure, session
from rolekd.export.floats import export_float
from rolekd.outputs import EvaluateMetrics, Outputs, Verification
from rolekd.params import TeacherName
from rolekd.report.costs import Cost
from rolekd.train import roles

_SECONDS = 1.0  # for each network


def costs(outputs: Outputs, teacher: TeacherName) -> list[Cost]:
    """Measure both as ONNX files, on one image and one thread.

    Args:
        outputs: where the stages' outputs are.
        teacher: the one that the exported student learned from.
    """
    dataset = datasets.load(outputs.data)
    with tempfile.TemporaryDirectory() as folder:
        floats = Path(folder) / "teacher.onnx"
        network, _ = roles.load(outputs.teacher(teacher), dataset)
        export_float(
            network,
            floats,
            mean=dataset.mean,
            std=dataset.std,
            image_size=dataset.image_size,
            classes=dataset.classes,
            metadata={},
        )
        found = latencies({"teacher": floats, "student": outputs.graph}, dataset.images.shape[1:])
        size = floats.stat().st_size
    accuracy = EvaluateMetrics.load(outputs.metrics("evaluate")).teachers[teacher]
    verified = Verification.load(outputs.verification)
    return [
        Cost("teacher, float32", accuracy, size, found["teacher"]),
        Cost("this student", verified.accuracy, verified.bytes, found["student"]),
    ]


def latencies(paths: Mapping[str, Path], shape: tuple[int, ...]) -> dict[str, float]:
    """Return the median milliseconds of one image [H, W, C], one thread, measured in turns."""
    networks = {name: session.load(path) for name, path in paths.items()}
    calls = {}
    for name, network in networks.items():
        image = np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8)
        calls[name] = partial(network, image)
    return {
        name: found.median for name, found in measure.latencies(calls, seconds=_SECONDS).items()
    }
