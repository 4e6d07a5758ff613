"""From a training with all that low bits may have to the file: equal on every test image."""

from pathlib import Path

import pytest
import torch

from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.distill.distillation import Distillation
from rolekd.export.verify import verify
from rolekd.export.write import export
from rolekd.files import sha256
from rolekd.params import (
    BaseAugmentParams,
    DataParams,
    DistillParams,
    ModelParams,
    StudentParams,
    TeacherParams,
    TrainingParams,
)
from rolekd.quantize import lower
from rolekd.sources.prepare import prepare
from rolekd.train import roles, state
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.evaluate import predict, predict_integers
from rolekd.train.fit import fit
from rolekd.train.training import Training

TINY = TrainingParams(epochs=3, learning_rate=1e-2, ema_decay=0.9, reestimate_batchnorm=256)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return prepare(DataParams(), seed=0)


def _training(digits: Dataset, params: StudentParams) -> tuple[Training, dict[str, object]]:
    teacher = roles.teacher(TeacherParams(model=ModelParams(width=6)), digits, 0)
    student = roles.student(params, digits, 1, teacher[0])
    objective = Distillation(student, teacher, DistillParams(), 1)
    batches = Batches(digits, "search_train", 64, 0, Normalize(digits))
    augment = constant(make_engine(BaseAugmentParams(), digits, 1), None)
    return Training(student[0], objective, batches, augment, params.training), student[1]


@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
def test_a_student_with_everything_is_exact_on_every_test_image(
    digits: Dataset, quantizer: str, tmp_path: Path
) -> None:
    params = StudentParams(model=ModelParams(width=4), quantizer=quantizer, ends=8, training=TINY)
    whole, about = _training(digits, params)
    fit(whole, tmp_path / "whole")
    for stop in (1, 2):  # killed twice, it ends in the same bytes
        part, _ = _training(digits, params)
        part.resume(tmp_path / "part")
        part.prepare()
        while part.epoch < stop:
            part.run_epoch()
        part.save(tmp_path / "part")
    part, _ = _training(digits, params)
    fit(part, tmp_path / "part")
    for name, training in (("a", whole), ("b", part)):
        state.save_weights(tmp_path / name, training.network, about)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")

    student, read = roles.load(tmp_path / "a", digits)
    assert read["ends"] == 8
    images, _ = digits.split("test")
    lowered = lower(student, mean=digits.mean, std=digits.std, image_size=digits.image_size)
    export(lowered, tmp_path / "a.onnx", classes=digits.classes, metadata={})
    found = verify(tmp_path / "a.onnx", lowered, images, layers=True)
    assert found.exact
    assert found.argmax_equal == len(images)
    assert found.largest_difference <= 1e-6 * found.logit_range
    assert (predict_integers(student, images, digits).argmax(1) == found.predictions).all()
    floats = torch.from_numpy(predict(student, images, Normalize(digits))).argmax(1)
    assert (floats.numpy() == found.predictions).mean() > 0.97  # float roundings are the rest
