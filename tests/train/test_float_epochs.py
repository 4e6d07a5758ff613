"""First epochs of a student in float."""

import pytest
import torch

from rolekd.data.batches import Batches, Normalize
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.files import sha256
from rolekd.models import build
from rolekd.models.weights import copy_matching
from rolekd.params import (
    BaseAugmentParams,
    DataParams,
    DistillParams,
    ModelParams,
    StudentParams,
    TeacherParams,
    TrainingParams,
)
from rolekd.quantize import convert
from rolekd.quantize.switch import quantise
from rolekd.sources.prepare import prepare
from rolekd.train import roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.training import Training

TINY = TrainingParams(epochs=4, learning_rate=1e-2, float_epochs=2)


@pytest.fixture(scope="module")
def digits():
    return prepare(DataParams(), seed=0)


def _training(digits, network, objective, params):
    batches = Batches(digits, "search_train", 64, 0, Normalize(digits))
    augment = constant(make_engine(BaseAugmentParams(), digits, 1), None)
    return Training(network, objective, batches, augment, params)


def _student(digits, params=TINY, **options):
    section = StudentParams(model=ModelParams(width=4), training=params, **options)
    return roles.student(section, digits, 0, None)[0]


@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
def test_turned_off_a_network_computes_and_learns_as_the_float_one(quantizer):
    usual = build("resnet8", classes=10, channels=3, image_size=(8, 8), width=4, seed=0)
    network = convert(usual, weight_bits=2, activation_bits=2, quantizer=quantizer)
    names = list(network.state_dict())
    quantise(network, False)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    made, expected = network(x), usual(x)
    assert torch.allclose(made, expected, atol=1e-6)
    made.square().sum().backward()
    expected.square().sum().backward()
    gradients = dict(network.named_parameters())
    for name, parameter in usual.named_parameters():
        assert torch.allclose(gradients[name].grad, parameter.grad, rtol=1e-4, atol=1e-5), name
    assert not any(bool(v) for k, v in network.state_dict().items() if k.endswith("started"))
    quantise(network, True)
    assert not torch.allclose(network(x), usual(x), atol=1e-3)
    assert list(network.state_dict()) == names


@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
def test_the_first_epochs_are_those_of_the_float_twin(digits, quantizer):
    network = _student(digits, quantizer=quantizer)
    teacher = TeacherParams(model=ModelParams(width=4))
    twin, _ = roles.teacher(teacher, digits, 0)
    copy_matching(twin, network)
    student = _training(digits, network, Objective(), TINY)
    usual = _training(digits, twin, Objective(), TINY.model_copy(update={"float_epochs": 0}))
    for _ in range(2):
        ours, expected = student.run_epoch(), usual.run_epoch()
        assert ours["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    assert not any(bool(v) for k, v in network.state_dict().items() if k.endswith("started"))
    student.run_epoch()
    started = [bool(v) for k, v in network.state_dict().items() if k.endswith("started")]
    assert all(started)
    assert bool(started) is (quantizer == "lsq")
    assert student.history[0].keys() == student.history[2].keys()


def test_an_average_begins_anew_with_the_quantisation(digits):
    params = TINY.model_copy(update={"ema_decay": 0.999})
    network = _student(digits, params, quantizer="lsq")
    training = _training(digits, network, Objective(), params)
    for _ in range(4):
        training.run_epoch()
    steps = {k: v for k, v in network.state_dict().items() if k.endswith(".step")}
    averaged = training.conclude().state_dict()
    assert steps
    for name, step in steps.items():  # not of the 1.0 that they were before they started
        assert abs(float(averaged[name] - step)) < 0.2 * abs(float(step)), name


@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
def test_stopped_and_resumed_it_ends_in_the_same_bytes(digits, tmp_path, quantizer):
    options = {"ema_decay": 0.9, "optimizer": "sgd"} if quantizer == "lsq" else {}
    params = TINY.model_copy(update=options)
    section = StudentParams(
        model=ModelParams(width=4), quantizer=quantizer, damping=0.1, ends=8, training=params
    )
    teacher = roles.teacher(TeacherParams(model=ModelParams(width=6)), digits, 0)

    def run(path, stop):
        student = roles.student(section, digits, 1, teacher[0])
        params_of_loss = DistillParams(loss={"at": 1.0, "rkd": 0.1}, quantize_teacher=True)
        objective = Distillation(student, teacher, params_of_loss, 1)
        training = _training(digits, student[0], objective, params)
        training.resume(path)
        training.prepare()
        while training.epoch < stop:
            training.run_epoch()
        training.save(path)
        return training

    whole = run(tmp_path / "whole", 4)
    for stop in (1, 2, 3, 4):
        run(tmp_path / "parts", stop)
    assert sha256(tmp_path / "whole") == sha256(tmp_path / "parts")
    assert [row["damping"] > 0 for row in whole.history] == [False, False, True, True]
