"""Costs of the teacher and the exported student of a finished run, measured on this machine."""

import tempfile
from pathlib import Path

from rolekd.data import dataset as datasets
from rolekd.export import measure, session
from rolekd.export.floats import export_float
from rolekd.outputs import EvaluateMetrics, ExportedRecord, Outputs
from rolekd.params import TeacherName
from rolekd.report.costs import Cost
from rolekd.train import roles


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
        paths = {"teacher": floats, "student": outputs.graph}
        found = measure.of_one_image({name: session.load(path) for name, path in paths.items()})
        size = floats.stat().st_size
    accuracy = EvaluateMetrics.load(outputs.metrics("evaluate")).teacher_accuracy
    verified = ExportedRecord.load(outputs.verification)
    return [
        Cost("teacher, float32", accuracy, size, found["teacher"].median),
        Cost("this student", verified.test_accuracy, verified.bytes, found["student"].median),
    ]
