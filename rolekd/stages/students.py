"""The students of an arm: what each is trained with, here or by workers of the fleet.

An arm's students are a job of one generation whose members are the seeds. What a student's training
leaves does not depend on where it runs, or on who trains the arm's others.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from rolekd import files, parallel, seeds
from rolekd.augment import engine as engines
from rolekd.augment import named
from rolekd.augment.engine import Engine
from rolekd.augment.named import NamedAugmentation
from rolekd.data import dataset as datasets
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.distill.taps import Described
from rolekd.fleet.jobs import OneGeneration, Trainer, hash_inputs, installed_versions
from rolekd.fleet.tasks import Outcome, Task
from rolekd.outputs import Outputs
from rolekd.params import ArmParams, Params
from rolekd.train import devices, roles
from rolekd.train.augmentation import applied, make_engine
from rolekd.train.fit import fit
from rolekd.train.state import EpochRow, read_weights, save_weights, write_weights
from rolekd.train.training import Training

_EPOCHS = "epochs"  # key, in the description that a training leaves, of its rows as text
# sections of params.yaml that decide a student
_SECTIONS = ("seed", "threads", "augment", "student", "distill")


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

    @classmethod
    def load(cls, params: Params, name: str, outputs: Outputs) -> "Common":
        """Read what earlier stages have left, and prepare this process for trainings."""
        arm = params.compare.arms[name]
        device = devices.set_up(params.machine.device, params.threads)
        parallel.join_group(device)
        dataset = datasets.load(outputs.data)
        teacher, about = roles.load(outputs.teacher(arm.teacher), dataset)
        return cls(
            params,
            arm,
            dataset,
            device,
            (teacher.to(device), about),
            make_engine(params.augment, dataset, params.threads),
            named.load(outputs.augmentation(name)),
        )

    def begin(self, number: int) -> tuple[Training, dict[str, Any]]:
        """Return the training of the student number `number`, and the student's description."""
        params, training = self.params, self.params.student.training
        # the same for every arm: equal seeds are pairs in the comparison
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


@dataclass(frozen=True)
class Students(OneGeneration):
    """The students of an arm as a `rolekd.fleet.jobs.Job`; the member of a slot is the seed.

    Attributes:
        arm: Its name.
        seeds: How many students.
        params: JSON of what decides them, and of the arm.
        inputs, versions: See `rolekd.fleet.jobs.Job`.
    """

    kind: ClassVar[str] = "students"

    arm: str
    seeds: int
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    versions: Mapping[str, str]

    @classmethod
    def describe_arm(cls, params: Params, arm: str, inputs: Path) -> "Students":
        """Describe the students of an arm, given the folder of what they may see."""
        values = params.model_dump(mode="json", include={*_SECTIONS})
        row = params.compare.arms[arm].model_dump(mode="json")
        # a student does not depend on the search, but Params needs one that fits
        values["search"] = {"algorithm": "ladder"}
        values["compare"] = {"baseline": arm, "export": arm, "arms": {arm: row}}
        # a job that began on a GPU continues on GPUs only
        values["machine"] = {"device": devices.resolve(params.machine.device).type}
        return cls(arm, params.compare.seeds, values, hash_inputs(inputs), installed_versions())

    @property
    def name(self) -> str:
        """See `rolekd.fleet.jobs.Job`."""
        return f"students-{self.arm}-{files.digest(self.to_json())[:12]}"

    @property
    def threads(self) -> int:
        """See `rolekd.fleet.jobs.Job`."""
        return int(self.params["threads"])

    @property
    def device(self) -> str:
        """See `rolekd.fleet.jobs.Job`."""
        return str(self.params["machine"]["device"])

    @property
    def measures(self) -> str:
        """See `rolekd.fleet.jobs.Job`."""
        return "training accuracy"

    @property
    def tasks(self) -> int:
        """See `rolekd.fleet.jobs.Job`."""
        return self.seeds

    def describe(self, task: Task) -> str:
        """See `rolekd.fleet.jobs.Job`."""
        return f"seed {task.slot.member}"

    def preload(self) -> None:
        """See `rolekd.fleet.jobs.Job`."""
        engines.preload()

    def make_trainer(self, inputs: Path, keep: Path) -> Trainer:
        """See `rolekd.fleet.jobs.Job`."""
        common = Common.load(Params.model_validate(self.params), self.arm, Outputs(inputs))
        return StudentTrainer(common, self.arm, keep)

    def write_task(self, task: Task) -> dict[str, Any]:
        """See `rolekd.fleet.jobs.Job`."""
        return {"stage": "distill", "arm": self.arm, "seed": task.slot.member}


def of_arm(arm: str, seed: int) -> dict[str, Any]:
    """Return what a student's description says of its arm."""
    return {"arm": arm, "seed": seed}


def state_file(folder: Path, seed: int) -> Path:
    """Return the file of a training's state, from which it continues after a kill."""
    return folder / f"seed-{seed}.safetensors"


@dataclass(frozen=True)
class StudentTrainer:
    """Trains an arm's students one after another, and leaves weights with the rows of the epochs.

    Attributes:
        common: What they have in common.
        arm: Its name.
        keep: Folder of the states of trainings at work: a killed one continues there.
    """

    common: Common
    arm: str
    keep: Path

    def train(self, task: Task, state: Path | None, out: Path) -> Outcome:
        """See `rolekd.fleet.jobs.Trainer`."""
        del state
        began, number = time.perf_counter(), task.slot.member
        training, about = self.common.begin(number)
        history = fit(training, state_file(self.keep, number))
        described = {**about, **of_arm(self.arm, number), _EPOCHS: json.dumps(history)}
        save_weights(out, training.network, described)
        images = len(self.common.dataset.splits["train"]) * len(history)
        return Outcome(history[-1]["accuracy"], images, time.perf_counter() - began)


def take(left: Path, weights: Path) -> tuple[dict[str, Any], list[EpochRow]]:
    """Write the weights that a `StudentTrainer` left; return their description and the rows."""
    tensors, about = read_weights(left)
    rows: list[EpochRow] = json.loads(about.pop(_EPOCHS))
    write_weights(weights, tensors, about)
    return about, rows
