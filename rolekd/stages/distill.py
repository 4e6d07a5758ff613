"""Stage distill: the students of one arm, all seeds, on the whole training set.

On a CPU they are trained side by side, in as many processes as `machine.workers`.
"""

import functools
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import torch._dynamo  # the first optimiser would import it, in every process anew

from rolekd import files, parallel, processes, seeds
from rolekd.augment import engine as engines
from rolekd.augment import named
from rolekd.augment.engine import Engine
from rolekd.augment.named import NamedAugmentation
from rolekd.data import dataset as datasets
from rolekd.data import fits
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.distill.taps import Described
from rolekd.outputs import Outputs, TrainingMetrics
from rolekd.params import ArmParams, Params
from rolekd.stages import checks
from rolekd.stages.stage import Stage
from rolekd.track.runs import Run
from rolekd.train import devices, roles, state
from rolekd.train.augmentation import applied, make_engine
from rolekd.train.fit import Monitor, Reporter, fit
from rolekd.train.state import Row
from rolekd.train.training import Training
from rolekd.workers import Pool


@dataclass(frozen=True)
class Job:
    """The trainings of an arm's students, as what they take from files and leave in files.

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

    def state(self, seed: int) -> Path:
        """The file of the state of a training."""
        return self.folder / f"seed-{seed}.safetensors"

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
class Trained:
    """A seed's student is trained; its weights are in their file."""

    seed: int
    history: list[Row]


Event = Begun | Epoch | Trained


@dataclass(frozen=True)
class Common:
    """What the students of an arm have in common."""

    params: Params
    arm: ArmParams
    dataset: Dataset
    device: torch.device
    teacher: Described
    engine: Engine
    augmentation: NamedAugmentation

    def begin(self, number: int) -> tuple[Training, dict[str, Any]]:
        """Return the training of the student number `number`, and the student's description."""
        params, training = self.params, self.params.student.training
        # the same for every arm: seeds are pairs in the comparison
        seed = seeds.derive(params.seed, "distill", number)
        start = self.teacher[0] if self.arm.starts_from == "teacher" else None
        network, about = roles.student(params.student, self.dataset, seed, start)
        network.to(self.device)
        objective = Objective()
        if self.arm.distilled:
            objective = Distillation((network, about), self.teacher, params.distill, seed)
        normalize = Normalize(self.dataset, self.device)
        batches = Batches(self.dataset, "train", training.batch_size, seed, normalize)
        augment_at = applied(self.engine, self.augmentation.over(training.epochs))
        return Training(network, objective, batches, augment_at, training), about


def train_seeds(job: Job, numbers: Iterator[int], tell: Callable[[Event], None]) -> None:
    """Train the arm's students with the numbers that come, one after another, in this process.

    What it leaves is the same wherever it runs, and whoever trains the arm's other students.

    Args:
        job: What to train.
        numbers: Of the seeds, below `compare.seeds`.
        tell: Takes what happens; also, where a training continues, what happened before.
    """
    common = _common(job)
    for number in numbers:
        training, about = common.begin(number)
        about |= {"arm": job.arm, "seed": number}
        tell(Begun(number, about))
        history = fit(training, job.state(number), [_Teller(number, tell)])
        if processes.team_rank() == 0:
            state.save_weights(job.weights(number), training.network, about)
        tell(Trained(number, history))


@dataclass(frozen=True)
class _Teller:
    """Reports the epochs of a training as events."""

    seed: int
    tell: Callable[[Event], None]

    def epoch(self, metrics: Mapping[str, float], step: int) -> None:
        self.tell(Epoch(self.seed, step, dict(metrics)))


class _Record:
    """What is told of an arm's trainings: a child run of each seed, what shows it, its rows."""

    def __init__(self, stage: Stage, arm: str, monitors: Sequence[Monitor]) -> None:
        self._stage, self._arm, self._monitors = stage, arm, monitors
        self._runs: dict[int, Run] = {}
        self._reporters: dict[int, list[Reporter]] = {}
        self.histories: dict[int, list[Row]] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case Begun(seed, about):
                name, epochs = (
                    f"{self._arm} seed {seed}",
                    self._stage.params.student.training.epochs,
                )
                run = self._stage.run.child(name, {"arm": self._arm, "seed": seed})
                run.log_params({"copied_from_teacher": about["copied_from_teacher"]})
                self._runs[seed] = run
                self._reporters[seed] = [run, *(m.begin(name, epochs) for m in self._monitors)]
            case Epoch(seed, number, metrics):
                for reporter in self._reporters[seed]:
                    reporter.epoch(metrics, number)
            case Trained(seed, history):
                self._runs.pop(seed).close()
                self.histories[seed] = history


def distill(stage: Stage, name: str, monitors: Sequence[Monitor] = ()) -> None:
    """Train the students of the arm `name`; open the stage with `forks=True`."""
    params = stage.params
    job = Job(params, name, stage.outputs, stage.state)
    record = _Record(stage, name, monitors if stage.leads else ())
    engines.preload()
    with Pool(side_by_side(params), functools.partial(train_seeds, job), "seed") as pool:
        # after the fork: what starts threads, or computes
        stage.run.send()
        checks.check(params)
        dataset = datasets.load(stage.outputs.data)
        fits.check(params, dataset.image_size, len(dataset.splits["train"]))
        stage.log_split(dataset, "train")
        pool.run(range(params.compare.seeds), record)
    if stage.leads:
        _write(stage, job, record.histories)


def side_by_side(params: Params) -> int:
    """Return the number of processes: a GPU is shared by none, and torchrun brings its own.

    Several threads each wait for one another where they outnumber the cores.
    """
    if processes.team_size() > 1 or devices.resolve(params.machine.device).type != "cpu":
        return 1
    most = max(processes.cores() // params.threads, 1) if params.threads > 1 else math.inf
    return int(min(params.machine.workers, params.compare.seeds, most))


def _write(stage: Stage, job: Job, histories: Mapping[int, list[Row]]) -> None:
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


def _common(job: Job) -> Common:
    params, outputs = job.params, job.outputs
    arm = params.compare.arms[job.arm]
    device = devices.prepare(params.machine.device, params.threads)
    parallel.join(device)
    dataset = datasets.load(outputs.data)
    teacher, about = roles.load(outputs.teacher(arm.teacher), dataset)
    return Common(
        params,
        arm,
        dataset,
        device,
        (teacher.to(device), about),
        make_engine(params.augment, dataset, params.threads),
        named.load(outputs.augmentation(job.arm)),
    )
