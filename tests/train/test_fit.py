import multiprocessing
import random
import time

import numpy as np
import pytest
import torch

from rolekd.data import dataset as datasets
from rolekd.data.batches import Batches, Normalize
from rolekd.distill.catalogue import COMBINATIONS, LOSSES, resolve
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.errors import InputError, RunError
from rolekd.files import sha256
from rolekd.params import DistillParams, ModelParams, StudentParams, TeacherParams
from rolekd.train import fit as fits
from rolekd.train import roles, state
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.evaluate import accuracy, predict, predict_integers
from rolekd.train.fit import fit
from rolekd.train.optimizer import make_optimizer
from rolekd.train.rates import decays
from rolekd.train.training import DivergedError, Training

TINY = TeacherParams().training.model_copy(update={"epochs": 4, "lr_schedule": "step"})
TEACHER = TeacherParams(model=ModelParams(width=4), training=TINY)
WIDER = TEACHER.model_copy(update={"model": ModelParams(width=6)})
STUDENT = StudentParams(model=ModelParams(width=4), training=TINY)


def _batches(digits, seed=0):
    return Batches(digits, "search_train", 64, seed, Normalize(digits))


def _nothing(digits):
    from rolekd.params import BaseAugmentParams

    return constant(make_engine(BaseAugmentParams(), digits, 1), None)


def _training(digits, network, objective=None, params=TINY, **options):
    objective = objective or Objective()
    return Training(network, objective, _batches(digits), _nothing(digits), params, **options)


class Rows:
    def __init__(self):
        self.rows = []

    def epoch(self, metrics, step):
        self.rows.append((step, dict(metrics)))


def test_training_learns_and_reports_every_epoch(digits, tmp_path):
    network, _ = roles.teacher(TEACHER, digits, 0)
    rows = Rows()
    batches = Batches(digits, "train", 32, 0, Normalize(digits))
    training = Training(network, Objective(), batches, _nothing(digits), TINY)
    history = fit(training, tmp_path / "state", [rows])
    assert [step for step, _ in rows.rows] == [0, 1, 2, 3] == [row["epoch"] for row in history]
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]
    assert history[0]["learning_rate"] == 1e-2
    assert history[-1]["learning_rate"] == pytest.approx(1e-4)
    images, labels = digits.split("test")
    assert accuracy(predict(network, images, Normalize(digits)), labels) > 0.7


def test_weight_decay_acts_on_weights_only(digits):
    network, _ = roles.teacher(TEACHER, digits, 0)
    decayed, rest = make_optimizer(network, Objective(), TINY).param_groups
    assert decayed["weight_decay"] == TINY.weight_decay
    assert rest["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in rest["params"])
    names = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    for name, kind in names.items():
        params = TINY.model_copy(update={"optimizer": name})
        assert type(make_optimizer(network, Objective(), params)) is kind


def test_the_rate_decays_at_the_stated_fractions():
    params = TINY.model_copy(update={"decay_at": (0.3, 0.6, 0.8)})
    assert [decays(params, 10, epoch) for epoch in range(10)] == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    assert [decays(params, 200, epoch) for epoch in (59, 60, 119, 120, 159, 160)] == [
        0,
        1,
        1,
        2,
        2,
        3,
    ]
    assert decays(params, 1, 0) == 0


# heads, a paraphraser, adapters, connectors, a peer: whatever a loss may train
EVERYTHING = {"mhgd": 1.0, "ft": 1.0, "fsp": 1.0, "ab": 1.0, "dml": 1.0, "rkd": 0.1}


@pytest.mark.parametrize(
    ("loss", "quantizer"), [(None, "lsq"), ({"soft": 1.0}, "dorefa"), (EVERYTHING, "dorefa")]
)
def test_interrupted_at_an_epoch_it_ends_in_the_same_bytes(digits, tmp_path, loss, quantizer):
    low = STUDENT.model_copy(update={"quantizer": quantizer, "overrides": {"*shortcut.0": 4}})
    teacher = roles.teacher(WIDER, digits, 0)

    def run(path, stop):
        student = roles.student(low, digits, 1, teacher[0])
        network, objective = student[0], Objective()
        if loss is not None:
            objective = Distillation(student, teacher, DistillParams(loss=loss), 1)
        training = _training(digits, network, objective)
        training.resume(path)
        training.prepare()
        while training.epoch < stop:
            training.run_epoch()
        training.save(path)

    run(tmp_path / "whole", 4)
    for stop in (1, 3, 4):
        run(tmp_path / "parts", stop)
    assert sha256(tmp_path / "whole") == sha256(tmp_path / "parts")


def _train(digits, state_file, weights, options, begun):
    torch.set_num_threads(1)
    fits._SECONDS_BETWEEN_SAVES = 0.0
    network, about = roles.teacher(TEACHER, digits, 0)
    params = TINY.model_copy(update={"epochs": 10, **options})
    training = _training(digits, network, params=params)
    begun.set()
    fits.fit(training, state_file)
    state.save_weights(weights, network, about)


@pytest.mark.parametrize(
    ("kills", "options"),
    [
        (3, {"epochs": 6}),
        pytest.param(
            10,
            {"ema_decay": 0.9, "lr_schedule": "one-cycle", "clip_norm": 1, "precision": "bfloat16"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_killed_at_random_instants_it_ends_in_the_same_bytes(digits, tmp_path, kills, options):
    # forks of a process that has imported all and trained nothing: after a backward pass with
    # threads, autograd refuses to work in a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rolekd.distill.distillation", "rolekd.train.fit"])

    def start(name):
        begun = context.Event()
        files = (tmp_path / f"{name}.state", tmp_path / f"{name}.weights")
        process = context.Process(target=_train, args=(digits, *files, options, begun))
        process.start()
        assert begun.wait(60)
        return process

    begin = time.monotonic()
    whole = start("whole")
    whole.join()
    assert whole.exitcode == 0
    length = time.monotonic() - begin
    rng = random.Random(3)
    for _ in range(kills):
        killed = start("killed")
        time.sleep(rng.uniform(0, 1.5 * length / kills))
        killed.kill()
        killed.join()
    last = start("killed")
    last.join()
    assert last.exitcode == 0
    assert sha256(tmp_path / "whole.weights") == sha256(tmp_path / "killed.weights")


def test_a_loss_that_becomes_nan_names_epoch_and_rate(digits):
    network, _ = roles.teacher(TEACHER, digits, 0)
    params = TINY.model_copy(update={"optimizer": "sgd", "learning_rate": 1e30})
    with pytest.raises(DivergedError, match=r"in epoch 0 at learning rate 1e\+30; lower") as caught:
        _training(digits, network, params=params).run_epoch()
    assert caught.value.exit_code == 1


def test_a_network_in_a_gpus_layout_trains_alike(digits, monkeypatch):
    histories, states = [], []
    for gpu in (False, True):
        monkeypatch.setattr("rolekd.train.training._on_gpu", lambda _, there=gpu: there)
        network, _ = roles.teacher(TEACHER, digits, 0)
        training = _training(digits, network)
        histories.append(training.run_epoch()["loss"])
        states.append(network.state_dict())
    assert histories[0] == pytest.approx(histories[1], rel=1e-3)
    assert states[0].keys() == states[1].keys()
    assert any(value.is_contiguous(memory_format=torch.channels_last) and value.shape[1] > 1
               for value in states[1].values() if value.ndim == 4)  # fmt: skip


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            r"memory is full \(a network of [0-9,]+ weights, batches of 32\); lower training\.",
        ),
        (
            torch.AcceleratorError("CUDA error: device-side assert\nSearch for it"),
            r"the GPU failed \(.*CUDA error: device-side assert.*\); look at it",
        ),
    ],
)
def test_what_a_gpu_fails_with_is_one_line(digits, monkeypatch, tmp_path, error, said):
    network, _ = roles.teacher(TEACHER, digits, 0)

    def fail(*_):
        raise error

    monkeypatch.setattr(Training, "step", fail)
    training = _training(digits, network, params=TINY.model_copy(update={"batch_size": 32}))
    with pytest.raises(RunError, match=said) as caught:
        fit(training, tmp_path / "state")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loss", [*LOSSES, *COMBINATIONS])
def test_every_loss_trains_and_changes_the_weights(digits, tmp_path, loss, plain):
    teacher = roles.teacher(WIDER, digits, 0)
    student = roles.student(STUDENT, digits, 1, teacher[0])
    params = DistillParams(loss=loss, prepare_epochs=1)
    objective = Distillation(student, teacher, params, 1)
    training = _training(digits, student[0], objective, TWO_EPOCHS)
    rows = fit(training, tmp_path / "state")
    for name in resolve(loss):
        assert sum(row[name] for row in rows) > 0
    assert not torch.equal(_flat(student[0]), plain)


TWO_EPOCHS = TINY.model_copy(update={"epochs": 2})


def _flat(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.fixture(scope="module")
def plain(digits, tmp_path_factory):
    """Weights of the same training without a teacher."""
    teacher, _ = roles.teacher(WIDER, digits, 0)
    student, _ = roles.student(STUDENT, digits, 1, teacher)
    path = tmp_path_factory.mktemp("plain") / "state"
    fit(_training(digits, student, params=TWO_EPOCHS), path)
    return _flat(student)


def test_a_training_with_heads_that_is_killed_ends_in_the_same_bytes(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("rolekd.train.fit._SECONDS_BETWEEN_SAVES", 0.0)
    teacher = roles.teacher(WIDER, digits, 0)

    class KilledError(Exception):
        pass

    class Killer:
        def __init__(self, at):
            self.at = at

        def epoch(self, _metrics, step):
            if step == self.at:
                raise KilledError

    def run(path, kill_at):
        student = roles.student(STUDENT, digits, 1, teacher[0])
        objective = Distillation(student, teacher, DistillParams(loss="ii"), 1)
        fit(_training(digits, student[0], objective), path, [Killer(kill_at)])
        return student[0]

    whole = run(tmp_path / "whole", None)
    for epoch in (0, 1, 3):
        with pytest.raises(KilledError):
            run(tmp_path / "parts", epoch)
    assert torch.equal(_flat(run(tmp_path / "parts", None)), _flat(whole))
    assert sha256(tmp_path / "whole") == sha256(tmp_path / "parts")


def test_networks_survive_their_files_and_refuse_others(digits, tmp_path):
    teacher, about = roles.teacher(TEACHER, digits, 0)
    student, student_about = roles.student(STUDENT, digits, 1, teacher)
    images = digits.split("test")[0]
    for name, network, description in (
        ("teacher", teacher, about),
        ("student", student, student_about),
    ):
        path = tmp_path / f"{name}.safetensors"
        state.save_weights(path, network.eval(), description)
        loaded, read = roles.load(path, digits)
        assert read == description
        normalize = Normalize(digits)
        expected = predict(network, images, normalize)
        assert np.array_equal(predict(loaded, images, normalize), expected)
    changed = {**about, "width": 8}
    state.save_weights(tmp_path / "wrong", teacher, changed)
    with pytest.raises(InputError, match="weights of another network"):
        roles.load(tmp_path / "wrong", digits)
    state.save_weights(tmp_path / "other", teacher, {**about, "classes": 7})
    with pytest.raises(InputError, match="trained for classes 7, the data has 10"):
        roles.load(tmp_path / "other", digits)
    torch.save(teacher.state_dict(), tmp_path / "zip")
    (tmp_path / "pickle").write_bytes(b"\x80\x04\x95junk")
    for name in ("zip", "pickle"):
        with pytest.raises(InputError, match="a pickle, as torch"):
            roles.load(tmp_path / name, digits)
    (tmp_path / "text").write_text("weights")
    with pytest.raises(InputError, match="not a safetensors file"):
        roles.load(tmp_path / "text", digits)
    with pytest.raises(InputError, match="no such file; run the stage"):
        roles.load(tmp_path / "absent", digits)


def test_a_student_starts_from_the_teachers_weights(digits):
    teacher, _ = roles.teacher(TEACHER, digits, 0)
    student, _ = roles.student(STUDENT, digits, 1, teacher)
    own = dict(student.named_parameters())
    for name, value in teacher.named_parameters():
        assert torch.equal(own[name], value)
    wider = StudentParams(model=ModelParams(width=8))
    other = dict(roles.student(wider, digits, 1, teacher)[0].named_parameters())
    assert sum(torch.equal(other[n], v) for n, v in teacher.named_parameters()) < len(own) / 4


def test_the_integers_predict_what_the_low_bit_network_does(digits, tmp_path):
    teacher, _ = roles.teacher(TEACHER, digits, 0)
    student, _ = roles.student(STUDENT, digits, 1, teacher)
    fit(_training(digits, student), tmp_path / "state")
    images = digits.split("test")[0]
    agreement = np.mean(
        predict(student, images, Normalize(digits)).argmax(1)
        == predict_integers(student, images, digits).argmax(1)
    )
    assert agreement > 0.98  # float roundings at the edges of levels are the rest


def test_the_search_gets_no_other_images(digits, tmp_path):
    datasets.save_splits(digits, ("search_train", "search_val"), tmp_path / "data")
    restricted = datasets.load(tmp_path / "data")
    assert restricted.digest == digits.digest
    assert set(restricted.splits) == {"search_train", "search_val"}
    assert len(restricted.images) == len(digits.splits["train"])
    for name in restricted.splits:
        for ours, whole in zip(restricted.split(name), digits.split(name), strict=True):
            assert np.array_equal(ours, whole)


def test_a_dead_quantiser_is_warned_of_in_one_line(digits, tmp_path, caplog):
    network, _ = roles.student(STUDENT, digits, 1, None)
    training = _training(digits, network)
    fit(training, tmp_path / "seed-0.safetensors")
    assert not caplog.records
    with torch.no_grad():
        for path in ("stage1.0.conv1", "stage2.0.conv1", "stage3.0.conv1", "stage4.0.conv1"):
            network.get_parameter(f"{path}.weight").zero_()
    fit(training, tmp_path / "other-0.safetensors")
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("other-0: dead quantisers (stage1.0.conv1, ")
    assert "more), all of whose values are on one level; lower student.training" in message
    assert "\n" not in message
