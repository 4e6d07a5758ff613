"""What a training may do besides: each option alone, and all of them resumed."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from rolekd.data.batches import Batches, Normalize
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import EpochProgress, Objective
from rolekd.errors import InputError
from rolekd.files import sha256
from rolekd.params import (
    BaseAugmentParams,
    DistillParams,
    ModelParams,
    Params,
    SearchParams,
    StudentParams,
    TeacherParams,
    TrainingParams,
)
from rolekd.train import devices, roles, state
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.average import Average
from rolekd.train.fit import fit
from rolekd.train.optimizer import make_optimizer
from rolekd.train.training import Training

TINY = TrainingParams(epochs=3, batch_size=64, learning_rate=1e-2)
TEACHER = TeacherParams(model=ModelParams(width=4), training=TINY)
STUDENT = StudentParams(model=ModelParams(width=4), training=TINY)
START = EpochProgress(0, 1)


def _batches(digits, batch_size=64):
    return Batches(digits, "search_train", batch_size, 0, Normalize(digits))


def _nothing(digits):
    return constant(make_engine(BaseAugmentParams(), digits, 1), None)


def _batch(digits, size=64):
    images, labels = digits.split("train")
    return Normalize(digits)(images[:size]), torch.from_numpy(labels[:size])


def _weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def _training(digits, network, objective=None, params=TINY, **options):
    objective = objective or Objective()
    return Training(network, objective, _batches(digits), _nothing(digits), params, **options)


def _stepped(digits, network, objective=None, **options):
    """Return gradients after a step of `network` with the given options."""
    params = TINY.model_copy(update=options)
    training = _training(digits, network.train(), objective, params)
    sums, _ = training.step(*_batch(digits), START)
    return torch.cat([p.grad.flatten() for p in network.parameters()]), sums


def test_momentum_begins_at_any_step():
    """Fused SGD refused parameters whose first gradient came after the others'."""
    params = TINY.model_copy(update={"optimizer": "sgd"})
    network, usual = _linear(), _linear()
    bias, others = network[1].bias, torch.optim.SGD(usual.parameters(), 1e-2, 0.9, nesterov=True)
    optimizer = make_optimizer(network, Objective(), params.model_copy(update={"weight_decay": 0}))
    for step in range(3):
        for module in (network, usual):
            module.zero_grad()
            module(torch.ones(1, 8, 8)).square().sum().backward()
            if step == 0:
                module[1].bias.grad = None
        optimizer.step()
        others.step()
    assert bias.grad is not None
    assert torch.allclose(_weights(network), _weights(usual))


def _linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_gradients_are_clipped_to_a_global_norm(digits):
    free, _ = _stepped(digits, _linear())
    clipped, _ = _stepped(digits, _linear(), clip_norm=0.1)
    assert free.norm() > 0.2
    assert clipped.norm() == pytest.approx(0.1, rel=1e-4)
    assert torch.allclose(clipped / clipped.norm(), free / free.norm(), atol=1e-6)


def test_parts_of_a_batch_have_the_gradient_of_the_whole(digits):
    whole, sums = _stepped(digits, _linear())
    parts, of_parts = _stepped(digits, _linear(), accumulate=5)
    assert torch.allclose(parts, whole, atol=1e-6)
    assert {k: float(v) for k, v in of_parts.items()} == pytest.approx(
        {k: float(v) for k, v in sums.items()}, rel=1e-5
    )


def test_the_average_follows_the_weights_and_statistics():
    source = nn.BatchNorm1d(3)
    average = Average(source, decay=0.9)
    expected = source.weight.detach().clone()
    for step in range(200):
        with torch.no_grad():
            source.weight.fill_(step)
            source.running_mean.fill_(step)
            source.num_batches_tracked.fill_(step)
        average.update(source, step)
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * step
    assert torch.allclose(average.network.weight, expected)
    assert torch.allclose(average.network.running_mean, expected, rtol=1e-3)
    assert average.network.num_batches_tracked == 199


def test_what_is_averaged_is_what_remains(digits, tmp_path):
    params = TINY.model_copy(update={"ema_decay": 0.9})
    network, _ = roles.teacher(TEACHER, digits, 0)
    for _ in range(2):  # the second call finds a finished training
        fit(_training(digits, network, params=params), tmp_path / "state")
        tensors, _ = state.read(tmp_path / "state")
        for name, value in network.state_dict().items():
            assert torch.equal(value, tensors[f"average.{name}"])
        assert not torch.equal(tensors["network.conv1.weight"], tensors["average.conv1.weight"])


OPTIONS = {
    "optimizer": "sgd", "learning_rate": 0.05, "lr_schedule": "cosine", "warmup_epochs": 0.5,
    "clip_norm": 1.0, "ema_decay": 0.9, "precision": "bfloat16", "accumulate": 2,
}  # fmt: skip


class _Noisy(nn.Module):
    """A network with dropout, whose noise must not depend on where a training was resumed."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10))

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("kind", ["taught", "one-cycle", "noisy"])
def test_with_all_options_a_resumed_training_ends_in_the_same_bytes(digits, tmp_path, kind):
    params = TINY.model_copy(update=OPTIONS)
    teacher = roles.teacher(TEACHER, digits, 0)
    if kind == "one-cycle":
        params = params.model_copy(update={"lr_schedule": "one-cycle", "warmup_epochs": 0.0})

    def run(path, stop):
        torch.manual_seed(3)
        student = roles.student(STUDENT, digits, 1, teacher[0])
        network, objective = _Noisy() if kind == "noisy" else student[0], Objective()
        if kind == "taught":
            objective = Distillation(student, teacher, DistillParams(), 1)
        training = _training(digits, network, objective, params)
        training.resume(path)
        training.prepare()
        while training.epoch < stop:
            training.run_epoch()
        training.save(path)

    run(tmp_path / "whole", 3)
    for stop in (1, 3):
        run(tmp_path / "parts", stop)
    assert sha256(tmp_path / "whole") == sha256(tmp_path / "parts")


def test_bfloat16_acts_on_networks_and_spares_losses_and_weights(digits):
    seen = []
    taught = roles.teacher(TEACHER, digits, 0)
    described = roles.student(STUDENT, digits, 1, taught[0])
    objective = Distillation(described, taught, DistillParams(), 1)
    teacher, student = taught[0], described[0]
    for network in (objective.teacher, student):
        network.get_submodule("stage2.0.relu2").register_forward_hook(
            lambda _m, _i, output: seen.append(output.dtype)
        )
    _, sums = _stepped(digits, student, objective, precision="bfloat16")
    assert seen == [torch.bfloat16] * 2
    assert all(value.dtype == torch.float32 for value in sums.values())
    assert {p.dtype for p in student.parameters()} == {torch.float32}
    again, _ = roles.student(STUDENT, digits, 1, teacher)
    _, exact = _stepped(digits, again, objective)
    assert float(sums["loss"]) == pytest.approx(float(exact["loss"]), rel=0.05)
    assert float(sums["loss"]) != float(exact["loss"])


def test_the_teacher_sees_every_batch_once(digits):
    teacher = roles.teacher(TEACHER, digits, 0)
    described = roles.student(STUDENT, digits, 1, teacher[0])
    objective = Distillation(described, teacher, DistillParams(), 1)
    student, batches, calls = described[0], _batches(digits), []
    objective.teacher.register_forward_hook(lambda *_: calls.append(1))
    Training(student, objective, batches, _nothing(digits), TINY).run_epoch()
    assert len(calls) == batches.per_epoch


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr_schedule": "one-cycle", "warmup_epochs": 1}, "one-cycle has its own warm-up"),
        ({"lr_schedule": "step", "warmup_epochs": 40}, "leaves none of the 40 epochs"),
        ({"batch_size": 8, "accumulate": 5}, "make it at most 4"),
        ({"ema_decay": 1.0}, "less than 1"),
        ({"precision": "float16"}, "bfloat16"),
        (
            {"float_epochs": 40},
            "float_epochs 40 leaves none of the 40 epochs quantised; .* at most 39",
        ),
        ({"reestimate_batchnorm": 31}, "less than a batch of 32 images; make it at least 32, or 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(changed, message):
    with pytest.raises(ValidationError, match=message):
        TrainingParams(**changed)


def test_the_warm_up_must_fit_into_the_search():
    with pytest.raises(ValidationError, match=r"search.epochs 20 must be more than warmup_epochs"):
        Params(teacher=_slow_teacher())
    # the ladder trains nothing but whole trainings
    Params(teacher=_slow_teacher(), search=SearchParams(algorithm="ladder"))


def _slow_teacher():
    training = TrainingParams(epochs=99, lr_schedule="step", warmup_epochs=30)
    return TeacherParams(training=training)


def test_epochs_in_float_are_a_students_and_leave_some_of_the_search():
    with pytest.raises(ValidationError, match=r"training.float_epochs: all epochs of a teacher"):
        TeacherParams(training=TrainingParams(float_epochs=1))
    with pytest.raises(ValidationError, match=r"search.epochs 20 leaves none quantised after fl"):
        Params(student=StudentParams(training=TrainingParams(epochs=99, float_epochs=30)))
    late = StudentParams(training=TrainingParams(epochs=99, float_epochs=30))
    Params(student=late, search=SearchParams(algorithm="ladder"))


def test_a_state_without_average_is_refused(digits, tmp_path):
    network, _ = roles.teacher(TEACHER, digits, 0)
    training = _training(digits, network)
    training.run_epoch()
    training.save(tmp_path / "state")
    averaged = _training(digits, network, params=TINY.model_copy(update={"ema_decay": 0.9}))
    with pytest.raises(InputError, match="another training"):
        averaged.resume(tmp_path / "state")
    assert averaged.epoch == 0


def test_devices_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.resolve("auto") == devices.resolve("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="device cuda: PyTorch finds no GPU here; set device"):
        devices.resolve("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.resolve("cpu") == torch.device("cpu")
    assert devices.resolve("auto") == devices.resolve("cuda") == torch.device("cuda", 0)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert devices.resolve("auto") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="2 GPUs, but more processes"):
        devices.resolve("auto")


def test_batches_live_on_the_device(digits):
    engine = make_engine(BaseAugmentParams(crop_padding=2), digits, 1)
    batches = Batches(digits, "train", 64, 0, Normalize(digits, "meta"))
    for images, labels, _ in batches.epoch(0, constant(engine, None)(0)):
        assert images.device == labels.device == torch.device("meta")
        assert images.shape == (len(labels), 1, 8, 8)
        assert images.dtype == torch.float32


def test_images_on_a_device_give_the_batches_of_arrays(digits, monkeypatch):
    engine = make_engine(BaseAugmentParams(crop_padding=2), digits, 1)
    arrays = _batches(digits)
    monkeypatch.setattr(Batches, "_placed", lambda self, images: self._normalize.on_device(images))
    tensors = _batches(digits)
    assert isinstance(tensors._images, torch.Tensor)
    for ours, expected in zip(
        tensors.epoch(0, constant(engine, None)(0)),
        arrays.epoch(0, constant(engine, None)(0)),
        strict=True,
    ):
        assert torch.equal(ours[0], expected[0])
        assert torch.equal(ours[1], expected[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_like_the_cpu_and_twice_the_same(digits, tmp_path):
    device = devices.resolve("cuda")
    devices.make_reproducible(device)

    def run(where):
        teacher = roles.teacher(TEACHER, digits, 0)
        described = roles.student(STUDENT, digits, 1, teacher[0])
        student = described[0].to(where)
        teacher[0].to(where)
        batches = Batches(digits, "search_train", 64, 0, Normalize(digits, where))
        objective = Distillation(described, teacher, DistillParams(loss="ii"), 1)
        path = tmp_path / f"{where.type}-{len(list(tmp_path.iterdir()))}"
        history = fit(Training(student, objective, batches, _nothing(digits), TINY), path)
        return history[0]["loss"], sha256(path)

    cpu, first, second = run(torch.device("cpu")), run(device), run(device)
    assert first[0] == pytest.approx(cpu[0], rel=0.05)
    assert first[1] == second[1]


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(digits, tmp_path):
    losses = {}
    for compiled in (False, True):
        teacher = roles.teacher(TEACHER, digits, 0)
        student = roles.student(STUDENT, digits, 1, teacher[0])
        objective = Distillation(student, teacher, DistillParams(loss="ii"), 1)
        params = TINY.model_copy(update={"compile": compiled, "epochs": 1})
        history = fit(_training(digits, student[0], objective, params), tmp_path / str(compiled))
        losses[compiled] = history[-1]["loss"]
    assert losses[True] == pytest.approx(losses[False], rel=1e-2)
