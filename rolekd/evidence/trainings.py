"""The trainings of a study: what decides each, what trains it, and what is measured of it.

Cells that need the same training, as when two searches have one winner, share it. A training is
identified by the digest of everything that decides it.
"""

import base64
import contextlib
import functools
import platform
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from rolekd import files, seeds
from rolekd.augment import corruptions, named
from rolekd.augment import engine as engines
from rolekd.augment import schedule as schedules
from rolekd.augment.named import NamedAugmentation
from rolekd.data import dataset as datasets
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.errors import HopelessError, RolekdError, RunError, one_line
from rolekd.evidence.keys import as_now, as_recorded
from rolekd.fleet.jobs import OneGeneration, hash_inputs, installed_versions
from rolekd.fleet.tasks import Outcome, Task
from rolekd.params import Params, Role
from rolekd.report.tables import calibration, confusion
from rolekd.search.member import DATA
from rolekd.train import devices, roles
from rolekd.train.augmentation import applied, make_engine
from rolekd.train.evaluate import accuracy, predict, predict_as_deployed
from rolekd.train.fit import fit
from rolekd.train.state import read_weights, save_weights, write_weights
from rolekd.train.training import Training as Loop

TEACHERS = "teachers"
_RESULT = "result"  # in the description of what a training leaves
# sections of params.yaml that decide a training of a role
_SECTIONS: dict[Role, tuple[str, ...]] = {
    "teacher": ("seed", "threads", "augment", "teacher"),
    "student": ("seed", "threads", "augment", "student", "distill"),
}
CORRUPTED_IMAGES = 2000  # test images at most: each is predicted 40 times


@dataclass(frozen=True)
class TrainingSpec:
    """Everything that decides one network.

    Attributes:
        data: Digest of the data set.
        role: Whose network it is.
        params: JSON of the sections of params.yaml that decide it, under the names of records.
        augmentation: JSON of what augments its images.
        distilled: Whether it learns from the teacher, not from the labels alone.
        teacher: Key of the training of the teacher that it learns from or starts with; empty: none.
        starts_from_teacher: Whether it takes the teacher's weights where shapes agree.
        seed: Its number.
        weights: SHA-256 of those that the network begins with; empty: it begins with none.
    """

    data: str
    role: Role
    params: Mapping[str, Any]
    augmentation: Mapping[str, Any]
    distilled: bool = False
    teacher: str = ""
    starts_from_teacher: bool = False
    seed: int = 0
    weights: str = ""

    @classmethod
    def of(
        cls, data: str, role: Role, params: Params, augmentation: NamedAugmentation, **more: Any
    ) -> "TrainingSpec":
        """Make a training of parameters and augmentation; see `TrainingSpec` for `more`."""
        values = as_recorded(params.model_dump(mode="json", include={*_SECTIONS[role]}))
        epochs = getattr(params, role).training.epochs
        if not more.get("distilled"):
            values.pop("distill", None)
        return cls(data, role, values, _simplest(augmentation, epochs), **more)

    @functools.cached_property
    def key(self) -> str:
        """Sixteen hex digits; any change changes them."""
        return files.digest(self.to_json())[:16]

    def to_json(self) -> dict[str, Any]:
        """Return the training as JSON-able values."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        if not self.weights:
            del values["weights"]
        return values

    @property
    def schedule(self) -> str:
        """Digest of what augments it, twelve hex digits."""
        return files.digest(dict(self.augmentation))[:12]


def _simplest(augmentation: NamedAugmentation, epochs: int) -> dict[str, Any]:
    """Return the JSON of an augmentation, the same for all that are equal over these epochs."""
    if augmentation.schedule is None:
        return augmentation.to_json()
    schedule = schedules.simplest(augmentation.schedule.stretch(epochs))
    if not schedules.acts(schedule):
        return NamedAugmentation(named.NONE).to_json()
    return NamedAugmentation("schedule", schedule).to_json()


@dataclass(frozen=True)
class Measured:
    """What was measured of a training, on the test images unless stated otherwise.

    Attributes:
        accuracy: 0..1.
        train_accuracy: On the images of the last epoch, as they were augmented.
        calibration_error: Expected, 0..1.
        robust: Corruption -> accuracy at each strength, over at most 2,000 test images; empty
            if it was not asked for.
        per_class: Share of each class's images that are right.
        right: Which images are right, packed bits in base64.
        images: Number of the test images.
        seconds: Of processor time or, on a GPU, of wall time.
        images_seen: In training.
        machine: What trained it, and with which PyTorch.
        fault: Why nothing was measured; empty: something was.
    """

    accuracy: float = 0.0
    train_accuracy: float = 0.0
    calibration_error: float = 0.0
    robust: Mapping[str, list[float]] = field(default_factory=dict)
    per_class: list[float] = field(default_factory=list)
    right: str = ""
    images: int = 0
    seconds: float = 0.0
    images_seen: int = 0
    machine: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Trainings(OneGeneration):
    """Trainings on one data set as a `rolekd.fleet.jobs.Job`; a slot's member is the index.

    Attributes:
        study: Name of the study.
        data: Name of the data set.
        trainings: What is trained, as JSON.
        corruptions: Whether accuracy under corruptions is measured.
        threads, device, inputs, versions: See `rolekd.fleet.jobs.Job`.
    """

    kind: ClassVar[str] = "trainings"

    study: str
    data: str
    trainings: Sequence[Mapping[str, Any]]
    corruptions: bool
    threads: int
    device: str
    inputs: Mapping[str, str]
    versions: Mapping[str, str]

    @classmethod
    def of(
        cls,
        study: str,
        data: str,
        trainings: Iterable[TrainingSpec],
        params: Params,
        inputs: Path,
        *,
        corruptions: bool,
    ) -> "Trainings":
        """Describe trainings, given the folder of what they may see."""
        rows = [training.to_json() for training in trainings]
        device = devices.resolve(params.machine.device).type
        return cls(
            study,
            data,
            rows,
            corruptions,
            params.threads,
            device,
            hash_inputs(inputs),
            installed_versions(),
        )

    @property
    def name(self) -> str:
        """See `rolekd.fleet.jobs.Job`."""
        return f"study-{self.study}-{self.data}-{files.digest(self.to_json())[:12]}"

    @property
    def measures(self) -> str:
        """See `rolekd.fleet.jobs.Job`."""
        return "test accuracy"

    @property
    def tasks(self) -> int:
        """See `rolekd.fleet.jobs.Job`."""
        return len(self.trainings)

    def training(self, task: Task) -> TrainingSpec:
        """Return what a task trains."""
        return TrainingSpec(**self.trainings[task.slot.member])

    def describe(self, task: Task) -> str:
        """See `rolekd.fleet.jobs.Job`."""
        training = self.training(task)
        return f"{training.role} {training.key}, seed {training.seed}"

    def preload(self) -> None:
        """See `rolekd.fleet.jobs.Job`."""
        engines.preload()

    def make_trainer(self, inputs: Path, keep: Path) -> "StudyTrainer":
        """See `rolekd.fleet.jobs.Job`."""
        devices.set_up(self.device, self.threads)
        return StudyTrainer(self, inputs, keep, datasets.load(inputs / DATA))

    def write_task(self, task: Task) -> dict[str, Any]:
        """See `rolekd.fleet.jobs.Job`."""
        return {"stage": "study", "training": self.training(task).key}


@dataclass(frozen=True)
class StudyTrainer:
    """Trains and measures networks, and leaves weights with what was measured.

    Attributes:
        job: What there is to train.
        inputs: Folder of the data set and the teachers.
        keep: Folder of the states of trainings at work: a killed one continues there.
        dataset: Of the inputs.
    """

    job: Trainings
    inputs: Path
    keep: Path
    dataset: Dataset

    def train(self, task: Task, state: Path | None, out: Path) -> Outcome:
        """See `rolekd.fleet.jobs.Trainer`."""
        del state
        training = self.job.training(task)
        began = time.perf_counter()
        network: nn.Module = nn.Identity()
        about: dict[str, Any] = {}
        try:
            batch = training.params[training.role]["training"]["batch_size"]
            with devices.explained(f"a {training.role} of {self.job.data}", batch):
                network, about, measured = self._train(training)
        except Exception as error:
            if isinstance(error, OSError | MemoryError) or (
                isinstance(error, RunError) and not isinstance(error, HopelessError)
            ):
                raise  # the machine failed: it is tried again
            # a cell that fails must not end the others
            reason = one_line(error, 300)
            known = isinstance(error, RolekdError)
            measured = Measured(fault=reason if known else f"{type(error).__name__}: {reason}")
        save_weights(out, network, {**about, _RESULT: vars(measured)})
        seconds = time.perf_counter() - began
        return Outcome(measured.accuracy, measured.images_seen, seconds)

    def _train(self, training: TrainingSpec) -> tuple[nn.Module, dict[str, Any], Measured]:
        params, data = Params.model_validate(as_now(training.params)), self.dataset
        device = torch.device(self.job.device)
        settings = getattr(params, training.role).training
        # derived as in the stages: equal seeds are pairs over all arms
        seed = seeds.derive(params.seed, f"study {training.role}", training.seed)
        objective = Objective()
        if training.role == "teacher":
            network, about = roles.teacher(params.teacher, data, seed)
        else:
            network, about, objective = self._student(training, params, seed, device)
        network.to(device)
        normalize = Normalize(data, device)
        augmentation = NamedAugmentation.from_json(training.augmentation, training.key)
        augment_at = applied(
            make_engine(params.augment, data, params.threads), augmentation.over(settings.epochs)
        )
        batches = Batches(data, "train", settings.batch_size, seed, normalize)
        clock = time.process_time if device.type == "cpu" else time.perf_counter
        began = clock()
        loop = Loop(network, objective, batches, augment_at, settings)
        history = fit(loop, self.keep / f"{training.key}.safetensors")
        measured = self._measure(network, normalize)
        return (
            network,
            about,
            Measured(
                **measured,
                train_accuracy=history[-1]["accuracy"],
                seconds=round(clock() - began, 1),
                images_seen=len(data.splits["train"]) * len(history),
                machine=f"{_processor(device)}, torch {torch.__version__}",
            ),
        )

    def _student(
        self, training: TrainingSpec, params: Params, seed: int, device: torch.device
    ) -> tuple[nn.Module, dict[str, Any], Objective]:
        teacher = None
        if training.teacher:
            path = self.inputs / TEACHERS / f"{training.teacher}.safetensors"
            teacher, about_teacher = roles.load(path, self.dataset)
            teacher.to(device)
        start = teacher if training.starts_from_teacher else None
        network, about = roles.student(params.student, self.dataset, seed, start)
        if not training.distilled:
            return network, about, Objective()
        assert teacher is not None
        described = (network.to(device), about), (teacher, about_teacher)
        return network, about, Distillation(*described, params.distill, seed)

    def _measure(self, network: nn.Module, normalize: Normalize) -> dict[str, Any]:
        data = self.dataset
        images, labels = data.split("test")
        logits = predict_as_deployed(network, images, data)
        right = logits.argmax(1) == labels
        counts = confusion(logits.argmax(1), labels, len(data.classes))
        return {
            "accuracy": accuracy(logits, labels),
            "calibration_error": calibration(logits, labels).error,
            "robust": self._corrupted(network, normalize) if self.job.corruptions else {},
            "per_class": [round(float(v), 4) for v in np.diag(counts) / counts.sum(1).clip(1)],
            "right": base64.b64encode(np.packbits(right).tobytes()).decode(),
            "images": len(labels),
        }

    def _corrupted(self, network: nn.Module, normalize: Normalize) -> dict[str, list[float]]:
        """Return corruption -> accuracy at each strength; the same images for all networks."""
        images, labels = self.dataset.split("test")
        some = np.random.default_rng(0).permutation(len(labels))[:CORRUPTED_IMAGES]
        images, labels = images[np.sort(some)], labels[np.sort(some)]
        found: dict[str, list[float]] = {}
        for name in corruptions.CORRUPTIONS:
            found[name] = []
            for strength in range(1, corruptions.STRENGTHS + 1):
                seed = seeds.derive(0, f"corruption {name}", strength)
                worse = corruptions.corrupted(images, name, strength, self.dataset.fill, seed)
                logits = predict(network, worse, normalize)
                found[name].append(round(accuracy(logits, labels), 5))
        return found


def _processor(device: torch.device) -> str:
    """Return the name of what trains."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.machine()


def take(left: Path, weights: Path | None) -> Measured:
    """Return what a `StudyTrainer` measured; write its weights to a file, if one is named.

    Their description is then that of an ordinary network of the role.
    """
    tensors, about = read_weights(left)
    measured = Measured(**about.pop(_RESULT))
    if weights is not None and not measured.fault:
        write_weights(weights, tensors, about)
    return measured
