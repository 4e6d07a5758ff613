"""What the teacher and the exported student of a finished run cost, measured here."""

import tempfile
from pathlib import Path

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.export import measure, session
from rolekd.export.floats import export_float
from rolekd.report.costs import Cost
from rolekd.train import roles


def costs(outputs: Path) -> list[Cost]:
    """Measure both as ONNX files, on one image and one thread.

    Args:
        outputs: folder of the stages' outputs.
    """
    dataset = datasets.load(outputs / "data")
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
        paths = {"teacher": floats, "student": outputs / "export" / "student.onnx"}
        found = measure.of_one_image({name: session.load(path) for name, path in paths.items()})
        size = floats.stat().st_size
    metrics = files.read_json(outputs / "evaluate" / "metrics.json")
    verified = files.read_json(outputs / "export" / "verification.json")
    return [
        Cost("teacher, float32", metrics["teacher_accuracy"], size, found["teacher"].median),
        Cost("this student", verified["accuracy"], verified["bytes"], found["student"].median),
    ]
