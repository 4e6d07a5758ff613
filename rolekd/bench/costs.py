"""What the teacher and the exported student of a finished run cost, measured here."""

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.export import measure, session
from rolekd.export.floats import export_float
from rolekd.report.costs import Cost
from rolekd.train import roles

_SECONDS = 1.0  # for each network


def costs(outputs: Path) -> list[Cost]:
    """Measure both as ONNX files, on one image and one thread.

    Args:
        outputs: folder of the stages' outputs.
    """
    dataset = datasets.load(outputs / "data")
    exported = outputs / "export" / "student.onnx"
    with tempfile.TemporaryDirectory() as folder:
        floats = Path(folder) / "teacher.onnx"
        teacher, _ = roles.load(outputs / "train_teacher" / "weights.safetensors", dataset)
        export_float(
            teacher,
            floats,
            mean=dataset.mean,
            std=dataset.std,
            image_size=dataset.image_size,
            classes=dataset.classes,
            metadata={},
        )
        found = latencies({"teacher": floats, "student": exported}, dataset.images.shape[1:])
        size = floats.stat().st_size
    metrics = files.read_json(outputs / "evaluate" / "metrics.json")
    verified = files.read_json(outputs / "export" / "verification.json")
    return [
        Cost("teacher, float32", metrics["teacher_accuracy"], size, found["teacher"]),
        Cost("this student", verified["accuracy"], verified["bytes"], found["student"]),
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
