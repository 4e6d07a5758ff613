"""Stage distill: the students of one arm, all seeds, on the whole training set."""

from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from torch import nn

from rolekd import files, parallel, seeds
from rolekd.augment import named
from rolekd.augment.engine import Engine
from rolekd.augment.named import NamedAugmentation
from rolekd.data import dataset as datasets
from rolekd.data import fits
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.display import say
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.distill.taps import Described
from rolekd.outputs import TrainingMetrics
from rolekd.params import ArmParams, Params
from rolekd.report.datafiles import to_csv
from rolekd.stages import checks
from rolekd.stages.stage import Stage
from rolekd.train import devices, roles, state
from rolekd.train.augmentation import applied, make_engine
from rolekd.train.fit import fit
from rolekd.train.training import Training


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


def distill(stage: Stage, name: str) -> None:
    """Train the students of the arm `name`."""
    params, outputs = stage.params, stage.outputs
    students: list[tuple[nn.Module, dict[str, Any]]] = []
    rows: list[dict[str, float]] = []
    common = _common(stage, name)
    for number in range(params.compare.seeds):
        training, about = common.begin(number)
        with stage.run.child(f"{name} seed {number}", {"arm": name, "seed": number}) as child:
            child.log_params({"copied_from_teacher": about["copied_from_teacher"]})
            history = fit(training, stage.state / f"seed-{number}.safetensors", [child])
        students.append((training.network, {**about, "arm": name, "seed": number}))
        rows += [{"seed": number, **row} for row in history]
        if stage.leads:
            say(f"{name}: seed {number} trained, loss {history[-1]['loss']:.4f}")
    if not stage.leads:
        return
    with files.replacing_folder(outputs.students(name)) as folder:
        for network, about in students:
            path = folder / outputs.student(name, about["seed"]).name
            state.save_weights(path, network, about)
    files.write_text(outputs.epochs("distill", name), to_csv(rows))
    last = [row for row in rows if row["epoch"] == params.student.training.epochs - 1]
    stage.finish(
        TrainingMetrics(
            train_loss=mean(row["loss"] for row in last),
            train_accuracy=mean(row["accuracy"] for row in last),
        )
    )


def _common(stage: Stage, name: str) -> Common:
    params, outputs = stage.params, stage.outputs
    checks.check(params)
    arm = params.compare.arms[name]
    device = devices.prepare(params.machine.device, params.threads)
    parallel.join(device)
    dataset = datasets.load(outputs.data)
    fits.check(params, dataset.image_size, len(dataset.splits["train"]))
    stage.log_split(dataset, "train")
    teacher, about = roles.load(outputs.teacher(arm.teacher), dataset)
    return Common(
        params,
        arm,
        dataset,
        device,
        (teacher.to(device), about),
        make_engine(params.augment, dataset, params.threads),
        named.load(outputs.augmentation(name)),
    )
