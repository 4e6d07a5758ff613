"""Stage train_teacher: full precision, on the whole training set, with its schedule or without."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from rolekd import files, parallel, seeds
from rolekd.augment.named import NONE, TEACHER_SCHEDULE, NamedAugmentation, resolve
from rolekd.data import dataset as datasets
from rolekd.data import fits
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.display import say
from rolekd.distill.objective import Objective
from rolekd.models import stems
from rolekd.models.external import PREFIX
from rolekd.outputs import TrainingMetrics
from rolekd.params import Params, TeacherName
from rolekd.stages import checks
from rolekd.stages.stage import Stage
from rolekd.track.observers import TrainingRun
from rolekd.train import devices, roles, state
from rolekd.train.augmentation import applied, make_engine
from rolekd.train.evaluate import accuracy, predict
from rolekd.train.fit import Monitor, Reporter, fit
from rolekd.train.training import Training


def make_training(
    params: Params, dataset: Dataset, augmentation: NamedAugmentation, device: torch.device
) -> tuple[Training, dict[str, Any]]:
    """Return the training of a teacher, and the teacher's description."""
    # the same for every augmentation: teachers differ by that alone
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
    """Train the teacher with the schedule that was searched for it, or without a search.

    With `teacher.train` false the trained teacher is taken as it is, under each name.
    """
    outputs = stage.outputs
    dataset = datasets.load(outputs.data)
    checks.check(stage.params, shape=dataset.shape)
    if not stage.params.teacher.train:
        _take(stage, teacher)
        return
    device = devices.set_up(stage.params.machine.device, stage.params.threads)
    parallel.join_group(device)
    fits.check(stage.params, dataset.image_size, dataset.sizes)
    name = {"searched": TEACHER_SCHEDULE, "plain": NONE}.get(teacher, teacher)
    augmentation = resolve(name, outputs.schedule)
    training, about = make_training(stage.params, dataset, augmentation, device)
    if stage.leads:
        _tell_stem(training.network, about)
        if told := roles.told_of_weights(stage.params.teacher, dataset, "teacher"):
            say(told)
    reporters: list[Reporter] = [TrainingRun(stage.run)]
    if stage.leads:
        epochs = training.params.epochs
        reporters += [each.begin(f"teacher {teacher}", epochs) for each in monitors]
    history = fit(training, stage.state / "training.safetensors", reporters)
    if not stage.leads:
        return
    stage.log_split(dataset, "train")
    state.save_weights(outputs.teacher(teacher), training.network, about)
    stage.run.log_artifact(outputs.teacher(teacher))
    files.write_csv(outputs.epochs("train_teacher", teacher), history)
    last = history[-1]
    metrics = TrainingMetrics(train_loss=last["loss"], train_accuracy=last["accuracy"])
    stage.finish(metrics, ends_of_curves=True)


def _tell_stem(network: nn.Module, about: Mapping[str, Any]) -> None:
    """Say what the stem of torchvision's network does where the images are small for its own."""
    height, width = about["image_size"]
    if about["model"].startswith(PREFIX) and stems.left_out((height, width)):
        say(
            f"teacher: {about['model']} has a {stems.describe(network)} for images of "
            f"{width}x{height}; its own is for {stems.WHOLE} pixels and more (docs/sizes.md)"
        )


def _take(stage: Stage, teacher: TeacherName) -> None:
    """Save a trained teacher as if trained here, and measure it on the training images."""
    if not stage.leads:
        return
    outputs = stage.outputs
    device = devices.set_up(stage.params.machine.device, stage.params.threads)
    dataset = datasets.load(outputs.data)
    network, about = roles.teacher(stage.params.teacher, dataset, seed=0)
    _tell_stem(network, about)
    stage.log_split(dataset, "train")
    images, labels = dataset.split("train")
    logits = predict(network.to(device), images, Normalize(dataset, device))
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    state.save_weights(outputs.teacher(teacher), network, about)
    files.write_csv(outputs.epochs("train_teacher", teacher), [])
    found = accuracy(logits, labels)
    size = roles.told_of_size(dataset)
    say(
        f"teacher: taken as it is, {100 * found:.2f} % of {len(labels)} images to train on"
        f"{f'; {size}' if size else ''}"
    )
    stage.finish(TrainingMetrics(train_loss=float(loss), train_accuracy=found))
