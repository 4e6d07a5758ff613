"""What the networks of a finished run cost, on the files that its stages leave."""

import numpy as np
import torch

from rolekd.data import dataset as datasets
from rolekd.export import measure
from rolekd.export.floats import export_float
from rolekd.models import build
from rolekd.outputs import EvaluateMetrics, Outputs, Verification
from rolekd.report import measured
from rolekd.train import state


def test_each_network_comes_with_its_own_accuracy_size_and_latency(tmp_path, monkeypatch) -> None:
    outputs = Outputs(tmp_path / "outputs")
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    indices = np.arange(40)
    splits = dict.fromkeys(("search_train", "search_val", "train", "test"), indices)
    dataset = datasets.assemble("noise", images, indices % 2, ("a", "b"), splits)
    datasets.save(dataset, outputs.data)
    made = [
        build("resnet8", classes=2, channels=1, image_size=(8, 8), width=width, seed=0)
        for width in (8, 2)
    ]
    for network in made:
        network(torch.randn(16, 1, 8, 8))
    about = {"model": "resnet8", "width": 8, "classes": 2, "channels": 1, "image_size": [8, 8]}
    path = outputs.teacher("searched")
    path.parent.mkdir(parents=True)
    state.save_weights(path, made[0], {"role": "teacher", **about})
    student = outputs.graph
    student.parent.mkdir()
    export_float(
        made[1].eval(), student, mean=dataset.mean, std=dataset.std, image_size=(8, 8),
        classes=dataset.classes, metadata={},
    )  # fmt: skip
    evaluated = EvaluateMetrics(teacher_accuracy=0.75, teachers={"searched": 0.75}, arms={})
    evaluated.save(outputs.metrics("evaluate"))
    size = student.stat().st_size
    Verification(
        bytes=size,
        images=40,
        argmax_equal=40,
        largest_logit_difference=0.0,
        accuracy=0.5,
        parameters=10,
        bits_per_parameter=32.0,
        bit_operations=10,
        sha256="ab",
        forms={},
        inexact=[],
    ).save(outputs.verification)
    real = measure.of_one_image
    monkeypatch.setattr(measure, "of_one_image", lambda networks: real(networks, seconds=0.0))
    teacher, low = measured.costs(outputs, "searched")
    assert (teacher.name, teacher.accuracy) == ("teacher, float32", 0.75)
    assert (low.name, low.accuracy, low.bytes) == ("this student", 0.5, size)
    assert teacher.bytes > 2 * low.bytes
    assert teacher.milliseconds > 0
    assert low.milliseconds > 0
