"""Stage train_teacher: full precision, on the whole training set, with its schedule or without."""

from collections.abc import Sequence
from typing import Any

import torch

from rolekd import files, parallel, seeds
from rolekd.augment.named import TEACHER_SCHEDULE, NamedAugmentation, resolve
from rolekd.data import dataset as datasets
from rolekd.data import fits
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.distill.objective import Objective
from rolekd.outputs import TrainingMetrics
from rolekd.params import Params, TeacherName
from rolekd.stages import checks
from rolekd.stages.stage import Stage
from rolekd.train import devices, roles, state
from rolekd.train.augmentation import applied, make_engine
from rolekd.train.fit import Monitor, Reporter, fit
from rolekd.train.training import Training


def begin(
    params: Params, dataset: Dataset, augmentation: NamedAugmentation, device: torch.device
) -> tuple[Training, dict[str, Any]]:
    """Return the training of a teacher, and the teacher's description."""
    # the same whatever augments it: teachers differ by their augmentation alone
    seed = seeds.derive(params.seed, "train teacher")
    settings = params.teacher.training
    network, about = roles.teacher(params.teacher, dataset, seed)
    engine = make_engine(params.augment, dataset, params.threads)
    training = Training(
        network.to(device),
        Objective(),
        Batches(dataset, "train", settings.batch_size, seed, Normalize(dataset, device)),
        applied(engine, augmentation.over(settings.epochs)),
        settings,
    )
    return training, about


def train_teacher(stage: Stage, teacher: TeacherName, monitors: Sequence[Monitor] = ()) -> None:
    """Train the teacher with the schedule that was searched for it, or with no policy."""
    outputs = stage.outputs
    checks.check(stage.params)
    device = devices.prepare(stage.params.machine.device, stage.params.threads)
    parallel.join(device)
    dataset = datasets.load(outputs.data)
    fits.check(stage.params, dataset.image_size, dataset.sizes)
    augmentation = NamedAugmentation("none")
    if teacher == "searched":
        augmentation = resolve(TEACHER_SCHEDULE, outputs.schedule)
    training, about = begin(stage.params, dataset, augmentation, device)
    reporters: list[Reporter] = [stage.run]
    if stage.leads:
        epochs = training.params.epochs
        reporters += [each.begin(f"teacher {teacher}", epochs) for each in monitors]
    history = fit(training, stage.state / "training.safetensors", reporters)
    if not stage.leads:
        return
    stage.log_split(dataset, "train")
    state.save_weights(outputs.teacher(teacher), training.network, about)
    files.write_csv(outputs.epochs("train_teacher", teacher), history)
    last = history[-1]
    metrics = TrainingMetrics(train_loss=last["loss"], train_accuracy=last["accuracy"])
    stage.finish(metrics, ends_of_curves=True)
