"""Stage distill: the students of one arm, all seeds, on the whole training set.

They are trained side by side, on the cores or GPUs that `machine` names, or, with a storage that
other machines reach, by the whole fleet.
"""

import functools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from rolekd import files, processes
from rolekd.augment import engine as engines
from rolekd.data import dataset as datasets
from rolekd.data import fits
from rolekd.data.dataset import Dataset
from rolekd.display import say
from rolekd.fleet import runner
from rolekd.fleet.artifacts import Artifacts
from rolekd.fleet.snapshot import Snapshot, Watch
from rolekd.outputs import Outputs, TrainingMetrics
from rolekd.params import Params
from rolekd.stages import checks, storage
from rolekd.stages.stage import Stage
from rolekd.stages.students import Common, Students, of_arm, state_file, take
from rolekd.track.observers import TrainingRun
from rolekd.track.runs import Run
from rolekd.train import devices, roles, state
from rolekd.train.fit import Monitor, Reporter, fit
from rolekd.train.seats import seats
from rolekd.train.state import EpochRow
from rolekd.workers import Pool


@dataclass(frozen=True)
class ArmJob:
    """The trainings of an arm's students: the files that they read and those that they leave.

    Attributes:
        params: All parameters.
        arm: The arm's name.
        outputs: Where data set, teacher and augmentation are.
        folder: Where each training keeps its state, and leaves the weights.
    """

    params: Params
    arm: str
    outputs: Outputs
    folder: Path

    def weights(self, seed: int) -> Path:
        """The file of the weights that a training ends with."""
        return self.folder / "weights" / self.outputs.student(self.arm, seed).name


@dataclass(frozen=True)
class Begun:
    """The training of a seed begins, or continues; `about` describes the student."""

    seed: int
    about: dict[str, Any]


@dataclass(frozen=True)
class Epoch:
    """An epoch of a seed's training is done."""

    seed: int
    number: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class SeedTrained:
    """A seed's student is trained; its weights are in their file."""

    seed: int
    history: list[EpochRow]


SeedEvent = Begun | Epoch | SeedTrained


def train_seeds(job: ArmJob, numbers: Iterator[int], tell: Callable[[SeedEvent], None]) -> None:
    """Train the arm's students with the numbers that come, one after another, in this process.

    What it leaves does not depend on where it runs, or on who trains the arm's other students.

    Args:
        job: What to train.
        numbers: Of the seeds, below `compare.seeds`.
        tell: Called with what happens; if a training continues, also with what happened before.
    """
    common = Common.load(job.params, job.arm, job.outputs)
    for number in numbers:
        training, about = common.begin(number)
        about |= of_arm(job.arm, number)
        tell(Begun(number, about))
        history = fit(training, state_file(job.folder, number), [_Teller(number, tell)])
        if processes.team_rank() == 0:
            state.save_weights(job.weights(number), training.network, about)
        tell(SeedTrained(number, history))


@dataclass(frozen=True)
class _Teller:
    """Reports the epochs of a training as events."""

    seed: int
    tell: Callable[[SeedEvent], None]

    def epoch(self, metrics: Mapping[str, float], step: int) -> None:
        self.tell(Epoch(self.seed, step, dict(metrics)))


class _Record:
    """What is reported of an arm's trainings: a child run of each seed, its display, its rows."""

    def __init__(self, stage: Stage, arm: str, monitors: Sequence[Monitor]) -> None:
        self._stage, self._arm, self._monitors = stage, arm, monitors
        self._runs: dict[int, Run] = {}
        self._reporters: dict[int, list[Reporter]] = {}
        self.histories: dict[int, list[EpochRow]] = {}

    def __call__(self, event: SeedEvent) -> None:
        match event:
            case Begun(seed, about):
                name, epochs = (
                    f"{self._arm} seed {seed}",
                    self._stage.params.student.training.epochs,
                )
                run = self._stage.run.child(name, {"arm": self._arm, "seed": seed})
                run.log_params({"copied_from_teacher": about["copied_from_teacher"]})
                self._runs[seed] = run
                self._reporters[seed] = [
                    TrainingRun(run),
                    *(m.begin(name, epochs) for m in self._monitors),
                ]
            case Epoch(seed, number, metrics):
                for reporter in self._reporters[seed]:
                    reporter.epoch(metrics, number)
            case SeedTrained(seed, history):
                self._runs.pop(seed).close()
                self.histories[seed] = history


def distill(
    stage: Stage, name: str, monitors: Sequence[Monitor] = (), watch: Watch = lambda _: None
) -> None:
    """Train the students of the arm `name`; open the stage with `forks=True`.

    Args:
        stage: Opened.
        name: Of the arm.
        monitors: Show the epochs of the trainings, if this process's own workers train.
        watch: Called with every snapshot of the study, if the fleet trains.
    """
    # decided here: a worker whose GPU has gone must not continue with the CPU
    device = devices.resolve(stage.params.machine.device).type
    machine = stage.params.machine.model_copy(update={"device": device})
    params = stage.params.model_copy(update={"machine": machine})
    job = ArmJob(params, name, stage.outputs, stage.state)
    if storage.is_shared() and processes.team_size() == 1:
        _share(stage, job, watch)
        return
    record = _Record(stage, name, monitors if stage.leads else ())
    engines.preload()
    places = seats(params.machine, params.threads, params.compare.seeds)
    with Pool(places, functools.partial(train_seeds, job), "seed") as pool:
        # after the fork: what starts threads, or computes
        stage.run.send()
        dataset = datasets.load(stage.outputs.data)
        checks.check(params, shape=dataset.shape)
        fits.check(params, dataset.image_size, dataset.sizes)
        _tell_of_weights(stage, dataset)
        stage.log_split(dataset, "train")
        pool.run(range(params.compare.seeds), record)
    if stage.leads:
        _write(stage, job, record.histories)


def _tell_of_weights(stage: Stage, dataset: Dataset) -> None:
    if stage.leads and (told := roles.told_of_weights(stage.params.student, dataset, "student")):
        say(told)


def _share(stage: Stage, job: ArmJob, watch: Watch) -> None:
    """Train the students with whoever works on the storage; record them when all are done."""
    params, name, record = job.params, job.arm, _Record(stage, job.arm, ())
    inputs = Outputs(stage.state / "inputs")
    shutil.rmtree(inputs.root, ignore_errors=True)
    dataset = datasets.load(stage.outputs.data)
    checks.check(params, shape=dataset.shape)
    fits.check(params, dataset.image_size, dataset.sizes)
    datasets.save_splits(dataset, ("train",), inputs.data)
    teacher = params.compare.arms[name].teacher
    for path in (stage.outputs.teacher(teacher), stage.outputs.augmentation(name)):
        target = inputs.root / path.relative_to(stage.outputs.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    stage.outputs.copy_pretrained(params, ["student"], inputs.root)
    _tell_of_weights(stage, dataset)
    students = Students.describe_arm(params, name, inputs.root)

    def forked() -> Watch:
        stage.run.send()  # starts a thread
        stage.log_split(dataset, "train")
        return watch

    def fetch(snapshot: Snapshot, artifacts: Artifacts) -> None:
        for result in snapshot.history[0]:
            seed, left = result.task.slot.member, job.folder / "left"
            assert result.state is not None
            artifacts.get_state(result.task.slot, result.trial, result.state, left)
            about, rows = take(left, job.weights(seed))
            record(Begun(seed, about))
            for row in rows:
                metrics = {key: value for key, value in row.items() if key != "epoch"}
                record(Epoch(seed, int(row["epoch"]), metrics))
            record(SeedTrained(seed, rows))

    runner.run(
        students,
        inputs.root,
        stage.state,
        forked,
        seats=seats(params.machine, params.threads, params.compare.seeds),
        storage=storage.of_project(students.name),
        fetch=fetch,
    )
    _write(stage, job, record.histories)
    storage.forget(students.name)


def _write(stage: Stage, job: ArmJob, histories: Mapping[int, list[EpochRow]]) -> None:
    outputs, numbers = stage.outputs, range(job.params.compare.seeds)
    with files.replacing_folder(outputs.students(job.arm)) as folder:
        for number in numbers:
            shutil.copy(job.weights(number), folder)
    rows = [{"seed": number, **row} for number in numbers for row in histories[number]]
    files.write_csv(outputs.epochs("distill", job.arm), rows)
    last = [histories[number][-1] for number in numbers]
    stage.finish(
        TrainingMetrics(
            train_loss=mean(row["loss"] for row in last),
            train_accuracy=mean(row["accuracy"] for row in last),
        )
    )
