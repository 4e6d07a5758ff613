"""The teacher's features on the student's levels."""

import pytest
import torch

from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import EpochProgress
from rolekd.distill.requantize import quantizers, requantized
from rolekd.models import build
from rolekd.params import DistillParams
from rolekd.quantize import convert
from rolekd.quantize.lsq import LSQActivation

PATHS = tuple(f"stage{stage}.0.relu2" for stage in range(1, 5))
START = EpochProgress(0, 8)


def _network(width, seed, quantizer=None, ends="float"):
    about = {"model": "resnet8", "channels": 3, "image_size": [16, 16], "classes": 5}
    shape = {"classes": 5, "channels": 3, "image_size": (16, 16)}
    network = build("resnet8", **shape, width=width, seed=seed)
    if quantizer:
        network = convert(network, weight_bits=2, activation_bits=2, quantizer=quantizer, ends=ends)
    return network.train(), about


def _batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 3, 16, 16, generator=generator), torch.arange(6) % 5


def test_each_feature_has_the_quantiser_that_takes_it():
    student, _ = _network(4, 1, "lsq")
    names = {module: path for path, module in student.named_modules()}
    found = [names[quantizer] for quantizer in quantizers(student, PATHS)]
    assert found[:3] == [f"stage{stage}_0_relu2_quantizer" for stage in (1, 2, 3)]
    assert found[3] == "stage4_0_relu1_quantizer"  # its own goes to the pooling, in float
    (first,) = quantizers(student, ["conv1"])
    assert "relu" in names[first]
    assert quantizers(_network(4, 1)[0], PATHS) == ()


@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
def test_a_loss_sees_the_teachers_features_on_levels(quantizer):
    student, teacher = _network(4, 1, quantizer), _network(8, 0)
    params = DistillParams(loss={"at": 1.0}, quantize_teacher=True)
    objective = Distillation(student, teacher, params, seed=7)
    usual = Distillation(student, teacher, DistillParams(loss={"at": 1.0}), seed=7)
    images, labels = _batch()
    assert objective(student[0], images, labels, START).parts["at"] != pytest.approx(
        float(usual(student[0], images, labels, START).parts["at"]), rel=1e-3
    )
    outputs, plain = objective._teach(images, 6), usual._teach(images, 6)
    assert torch.equal(outputs.logits, plain.logits)
    for feature, before in zip(outputs.features, plain.features, strict=True):
        assert feature.shape == before.shape
        assert not feature.requires_grad
        assert len(feature.unique()) <= 4 < len(before.unique())
    assert not any("quantizer" in name for name in objective.state_dict())
    assert not [*objective.parameters()]


def test_steps_neither_start_nor_learn_from_the_teacher():
    quantizer = LSQActivation(2)
    feature = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) ** 4
    assert len(requantized(feature, quantizer).unique()) == 4
    assert quantizer.training
    assert not bool(quantizer.started)
    quantizer(10 * feature)
    step = quantizer.step.item()
    requantized(feature, quantizer)
    assert quantizer.step.item() == step

    student, teacher = _network(4, 1, "lsq"), _network(8, 0)
    params = DistillParams(loss={"ft": 1.0, "mhgd": 1.0}, quantize_teacher=True)
    objective = Distillation(student, teacher, params, seed=7)
    objective.prepare(lambda _: [_batch(seed) for seed in range(2)])
    assert not any(bool(v) for k, v in student[0].state_dict().items() if k.endswith("started"))


def test_without_features_nothing_changes():
    student, teacher = _network(4, 1, "dorefa"), _network(8, 0)
    images, labels = _batch()
    losses = [
        Distillation(
            student, teacher, DistillParams(loss={"soft": 1.0}, quantize_teacher=quantised), seed=7
        )(student[0].eval(), images, labels, START).total
        for quantised in (False, True)
    ]
    assert torch.equal(*losses)
