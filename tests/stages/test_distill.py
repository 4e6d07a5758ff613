"""The students of an arm: the same bytes whoever trains them, whatever is killed."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rolekd import files
from rolekd.augment import named
from rolekd.cli import working
from rolekd.data import dataset as datasets
from rolekd.errors import InputError, RolekdError
from rolekd.files import digest_path
from rolekd.fleet import studies
from rolekd.outputs import Outputs
from rolekd.params import Params
from rolekd.sources.prepare import prepare
from rolekd.stages.distill import ArmJob, distill
from rolekd.stages.stage import Stage
from rolekd.stages.students import Common
from rolekd.track.runs import SilentRun
from rolekd.train import fit, roles, state
from rolekd.train.training import DivergedError, Training

ARM, SEEDS, EPOCHS = "kd", 3, 4
PARAMS = {
    "threads": 1,
    "machine": {"device": "cpu"},
    "data": {"test_fraction": 0.8},  # few images to train on
    "teacher": {"model": {"width": 2}},
    "student": {"model": {"width": 2}, "training": {"epochs": EPOCHS, "batch_size": 64}},
    "distill": {"loss": "soft"},
    "compare": {"seeds": SEEDS},
}
FORK = multiprocessing.get_context("fork")


class HeardRun(SilentRun):
    """Keeps what it is told."""

    def __init__(self, name="stage", told=None):
        self.name, self.told = name, told if told is not None else []

    def child(self, name, tags=None):  # noqa: ARG002
        return HeardRun(name, self.told)

    def log_params(self, params):
        self.told.append([self.name, "params", params])

    def epoch(self, metrics, step):
        kept = {key: value for key, value in metrics.items() if key != "images_per_second"}
        self.told.append([self.name, step, kept])

    def close(self, status="FINISHED"):
        self.told.append([self.name, status])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Everything that a training of an arm reads."""
    outputs = Outputs(tmp_path_factory.mktemp("prepared"))
    params = Params.model_validate(PARAMS)
    dataset = prepare(params.data, seed=0)
    datasets.save(dataset, outputs.data)
    network, about = roles.teacher(params.teacher, dataset, 0)
    state.save_weights(outputs.teacher("searched"), network, about)
    named.NamedAugmentation("none").save(outputs.augmentation(ARM))
    return outputs


def _begin(prepared, root, workers, changes=None):
    """Start the stage in a process of one thread; what an earlier one left is there."""
    (root / "outputs").mkdir(parents=True, exist_ok=True)
    for name in ("data", "train_teacher", "augmentations"):
        if not (root / "outputs" / name).exists():
            (root / "outputs" / name).symlink_to(prepared.root / name)
    sections = PARAMS | {"machine": {"device": "cpu", "workers": workers}} | (changes or {})
    process = FORK.Process(target=_main, args=(sections, root))
    process.start()
    return process


@pytest.fixture
def start(prepared, tmp_path):
    """Start the stage in a folder of that name."""
    started = []

    def begin(workers, folder="stage", changes=None):
        root = tmp_path / folder
        started.append(_begin(prepared, root, workers, changes))
        return started[-1], root

    yield begin
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    assert _finish(_begin(prepared, root, 1)) == 0
    return root


def _main(sections, root):
    fit._SECONDS_BETWEEN_SAVES = 0.0
    outputs, run = Outputs(root / "outputs"), HeardRun()
    folder = outputs.stage("distill", ARM)
    files.clear_unfinished(folder)  # as `open_stage` does
    stage = Stage(Params.model_validate(sections), run, outputs, folder, root / "state", leads=True)
    try:
        distill(stage, ARM)
    except RolekdError as error:
        (root / "error").write_text(str(error))
        os._exit(error.exit_code)
    (root / "told.json").write_text(json.dumps(run.told))


def _finish(process):
    process.join(120)
    return process.exitcode


def _result(root):
    return digest_path(root / "outputs/distill")


def _assert_complete(root, undisturbed):
    """What a killed stage has left under its own name is what an undisturbed one leaves."""
    for path in (root / "outputs/distill").rglob("*"):
        place = path.relative_to(root)
        if path.is_file() and not any(part.startswith(".") for part in place.parts):
            assert path.read_bytes() == (undisturbed / place).read_bytes()


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_leaves_the_same_bytes(start, undisturbed, workers):
    process, root = start(workers)
    assert _finish(process) == 0
    assert _result(root) == _result(undisturbed)
    assert len(list((root / "outputs/distill/kd/weights").iterdir())) == SEEDS
    assert not (root / "state").exists()
    one, many = (_told(at) for at in (undisturbed, root))
    assert sorted(map(str, one)) == sorted(map(str, many))  # all runs hear the same
    for seed in range(SEEDS):
        name = f"{ARM} seed {seed}"
        assert [said for said in one if said[0] == name] == [
            said for said in many if said[0] == name
        ]


def test_students_that_their_augmentation_follows_are_the_same_whoever_trains_them(
    start, undisturbed, tmp_path
):
    roots = []
    for workers in (1, 2):
        augmentation = Outputs(tmp_path / f"{workers}/outputs").augmentation(ARM)
        augmentation.parent.mkdir(parents=True)
        named.NamedAugmentation("adaptive").save(augmentation)
        process, root = start(workers, str(workers))
        assert _finish(process) == 0
        roots.append(root)
    assert _result(roots[0]) == _result(roots[1]) != _result(undisturbed)
    heard = [said for said in _told(roots[0]) if said[0] != "stage"]
    epochs = [said for said in heard if isinstance(said[1], int)]
    assert len(epochs) == SEEDS * EPOCHS
    assert all(0 < metrics["strength"] < 1 for *_, metrics in epochs)


def test_killed_at_random_instants_it_ends_in_the_same_bytes(start, undisturbed):
    chance, kills = random.Random(15), 0
    process, root = start(2, "killed-0")
    while kills < 12:
        time.sleep(chance.uniform(0.0, 0.6))
        workers = _children(process.pid)
        victim = chance.choice([process.pid, *workers])
        if not process.is_alive():
            assert _finish(process) == 0
            assert _result(root) == _result(undisturbed)
            process, root = start(2, f"killed-{kills}")  # it got through: on with the next
            continue
        _kill(victim)
        kills += 1
        code = _finish(process)
        # a worker may have had nothing left to do
        assert code == -9 if victim == process.pid else code in (0, 1)
        if code:
            _assert_complete(root, undisturbed)
        process, root = start(2, root.name)
    assert _finish(process) == 0
    assert _result(root) == _result(undisturbed)


def test_after_a_kill_none_writes_and_the_next_run_hears_every_epoch(start, undisturbed):
    process, root = start(2)
    deadline = time.monotonic() + 60
    while not list((root / "state").glob("seed-*")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    _kill(process.pid)
    assert _finish(process) == -9
    time.sleep(0.2)  # its workers end with it
    before = _states(root)
    time.sleep(0.3)
    assert _states(root) == before
    process, root = start(2)
    assert _finish(process) == 0
    assert sorted(map(str, _told(root))) == sorted(map(str, _told(undisturbed)))


def _states(root):
    return {path: path.stat().st_mtime_ns for path in (root / "state").glob("seed-*")}


def _told(root):
    return json.loads((root / "told.json").read_text())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_training_that_diverges_is_one_error_and_nothing_is_written(start, monkeypatch, workers):
    run_epoch = Training.run_epoch

    def diverge(training):
        if training.epoch == 2:
            raise DivergedError("the loss became nan; lower the learning rate")
        return run_epoch(training)

    monkeypatch.setattr(Training, "run_epoch", diverge)
    process, root = start(workers)
    assert _finish(process) == 1
    assert (root / "error").read_text() == "the loss became nan; lower the learning rate"
    assert not (root / "outputs/distill").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_missing_input_is_named(start, prepared, workers):
    process, root = start(workers, changes={"compare": {"seeds": 2, **_arm("plain")}})
    assert _finish(process) == 2
    assert "train_teacher/plain/weights.safetensors: no such file" in (root / "error").read_text()


def _arm(teacher):
    arm = {
        "distilled": True,
        "augmentation": "none",
        "teacher": teacher,
        "starts_from": "teacher",
    }
    return {"arms": {ARM: arm}, "baseline": ARM, "export": ARM}


def _children(pid):
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("starts_from", ["scratch", "teacher"])
def test_a_student_from_scratch_has_no_weight_of_the_teacher(prepared, tmp_path, starts_from):
    arm = Params().compare.arms[ARM].model_dump() | {"starts_from": starts_from}
    compare = {"seeds": 1, "arms": {ARM: arm}, "baseline": ARM, "export": ARM}
    params = Params.model_validate(PARAMS | {"compare": compare})
    job = ArmJob(params, ARM, prepared, tmp_path)
    training, about = Common.load(job.params, job.arm, job.outputs).begin(0)
    teacher = roles.load(prepared.teacher("searched"), datasets.load(prepared.data))[0]
    theirs = teacher.state_dict()
    equal = {
        name
        for name, value in training.network.state_dict().items()
        if name.endswith("conv1.weight") and torch.equal(value, theirs.get(name, value + 1))
    }
    assert bool(equal) == (starts_from == "teacher") == (about["copied_from_teacher"] > 0)


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A storage that workers elsewhere reach; returns its URL."""
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    monkeypatch.setenv("ROLEKD_STORAGE", url)
    monkeypatch.setenv("ROLEKD_ARTIFACTS", str(tmp_path / "store"))
    return url


@pytest.mark.parametrize("workers", [1, 2])
def test_the_fleet_leaves_the_same_bytes(start, undisturbed, shared, workers):
    process, root = start(workers)
    assert _finish(process) == 0
    assert _result(root) == _result(undisturbed)
    assert sorted(map(str, _told(root))) == sorted(map(str, _told(undisturbed)))
    ((study, _),) = studies.each_open(shared)
    assert study.read().finished
    assert study.name.startswith(f"students-{ARM}-")
    assert not (root / "state").exists()


def test_a_finished_arm_is_fetched_or_trained_again(start, undisturbed, shared, tmp_path):
    for folder in ("first", "second"):
        process, root = start(1, folder)
        assert _finish(process) == 0
        assert _result(root) == _result(undisturbed)
    # the store has lost what the finished study says is there
    for path in (tmp_path / "store").iterdir():
        path.unlink()
    process, root = start(1, "third")
    assert _finish(process) == 0
    assert _result(root) == _result(undisturbed)


def test_a_student_that_diverges_ends_no_other_worker(start, shared, monkeypatch, tmp_path):
    def diverge(_):
        raise DivergedError("the loss became nan; lower the learning rate")

    with monkeypatch.context() as patch:
        patch.setattr(Training, "run_epoch", diverge)
        process, root = start(1)
        assert _finish(process) == 1
    assert (root / "error").read_text() == "the loss became nan; lower the learning rate"
    with pytest.raises(InputError, match="nothing to do in this storage"):
        working.work(shared, None, None, 0.0, "1")
    with pytest.raises(InputError, match=r"study .*: failed \(the loss became nan; lower"):
        ((study, _),) = studies.each_open(shared)
        working.work(shared, None, study.name, 0.0, "1")
    process, root = start(1)  # its stage tries again
    assert _finish(process) == 0


def test_a_worker_elsewhere_trains_students_too(start, shared, tmp_path):
    longer = {"student": {**PARAMS["student"], "training": {"epochs": 12, "batch_size": 64}}}
    changes = {**longer, "compare": {"seeds": 6}}
    process, root = start(1, changes=changes)
    code = "from rolekd.cli import main; main()"
    (tmp_path / "elsewhere").mkdir()
    while not (tmp_path / "fleet.db").exists():
        time.sleep(0.01)
    with subprocess.Popen(
        [sys.executable, "-c", code, "worker", "--wait", "60"],
        cwd=tmp_path / "elsewhere",
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        assert _finish(process) == 0
        worker.terminate()
        assert f"worker on students-{ARM}-" in worker.communicate()[1]
    ((study, _),) = studies.each_open(shared)
    assert len({trial.workers for trial in study.read().trials}) == 2  # both had a part in it
    assert not list((tmp_path / "elsewhere").iterdir())
    with pytest.MonkeyPatch.context() as alone:
        alone.delenv("ROLEKD_STORAGE")
        process, other = start(2, "alone", changes)
        assert _finish(process) == 0
    assert _result(root) == _result(other)


def test_killed_at_random_instants_the_fleet_ends_in_the_same_bytes(start, undisturbed, shared):
    stream, kills = random.Random(2), 0
    while True:
        process, root = start(2)
        process.join(stream.uniform(0.3, 1.0 + 0.3 * kills))  # in the end it gets through
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
        _assert_complete(root, undisturbed)
    assert process.exitcode == 0
    assert kills > 0
    assert _result(root) == _result(undisturbed)
