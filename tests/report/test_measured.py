"""What the networks of a finished run cost, on the files that its stages leave."""

import numpy as np
import torch
import verifications

from rolekd.data import dataset as datasets
from rolekd.export import measure
from rolekd.export.floats import export_float
from rolekd.models import build
from rolekd.outputs import Outputs
from rolekd.report import measured
from rolekd.train import pretrained, state


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
    about |= {"class_names": list(dataset.classes), "data_digest": dataset.digest}
    about["normalization"] = pretrained.of_data(dataset)
    path = outputs.teacher("searched")
    path.parent.mkdir(parents=True)
    state.save_weights(path, made[0], {"role": "teacher", **about})
    student = outputs.graph
    student.parent.mkdir()
    export_float(
        made[1].eval(), student, mean=dataset.mean, std=dataset.std, image_size=(8, 8),
        classes=dataset.classes, metadata={},
    )  # fmt: skip
    size = student.stat().st_size
    verifications.save(outputs, size=size, images=40, teacher_accuracy=0.75, bits=32.0)
    real = measure.of_one_image
    monkeypatch.setattr(measure, "of_one_image", lambda networks: real(networks, seconds=0.0))
    teacher, low = measured.costs(outputs, "searched")
    assert (teacher.name, teacher.accuracy) == ("teacher, float32", 0.75)
    assert (low.name, low.accuracy, low.bytes) == ("this student", 0.5, size)
    assert teacher.bytes > 2 * low.bytes
    assert teacher.milliseconds > 0
    assert low.milliseconds > 0
