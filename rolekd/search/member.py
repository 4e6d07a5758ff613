"""A member of a search: one generation of training, and its accuracy on search_val."""

import math
import time
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the first optimiser would import it, in every worker anew

from rolekd import seeds
from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.data import dataset as datasets
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.distill.predictor import MeanProbability
from rolekd.errors import RunError
from rolekd.params import BaseAugmentParams, DistillParams, Params, StudentParams, TeacherParams
from rolekd.search.artifacts import START_AGAIN
from rolekd.search.population import Integers, Slot
from rolekd.search.spec import SearchSpec
from rolekd.search.trainer import Outcome
from rolekd.sources import splits
from rolekd.train import devices, roles
from rolekd.train.augmentation import applied, constant, make_engine
from rolekd.train.evaluate import accuracy, predict
from rolekd.train.state import StateError
from rolekd.train.training import DivergedError, Training

DATA = "data"
TEACHER = "teacher.safetensors"


class Member:
    """Trains slots of a search for either role, on what the folder of inputs holds.

    The inputs are `data/`, a data set of the splits search_train and search_val only, and for a
    student `teacher.safetensors`. `spec.training` is what `training` returns.
    """

    def __init__(self, spec: SearchSpec, inputs: Path) -> None:
        self._device = devices.prepare(spec.training["device"], spec.search.threads_per_worker)
        self._spec = spec
        self._dataset = datasets.load(inputs / DATA)
        base = BaseAugmentParams.model_validate(spec.training["augment"])
        self._engine = make_engine(base, self._dataset, spec.search.threads_per_worker)
        self._teacher: torch.nn.Module | None = None
        if spec.role == "teacher":
            self._teacher_params = TeacherParams.model_validate(spec.training["teacher"])
            params = self._teacher_params.training
        else:
            self._student_params = StudentParams.model_validate(spec.training["student"])
            params = self._student_params.training
            self._teacher, self._teacher_about = roles.load(inputs / TEACHER, self._dataset)
            self._teacher.to(self._device)
            self._distill_params = DistillParams.model_validate(spec.training["distill"])
        self._whole = params
        # the schedules of a member are stretched over the search
        self._params = params.model_copy(update={"epochs": spec.search.epochs})

    def advance(
        self,
        state: Path | None,
        policy: Integers,
        slot: Slot,
        start_epoch: int,
        epochs: int,
        out: Path,
    ) -> Outcome:
        """Train one slot; see `rolekd.search.trainer.Trainer`."""
        began = time.perf_counter()
        seed = seeds.derive(self._spec.seed, f"search {self._spec.role}", slot.member)
        network, objective = self._start(seed)
        normalize = Normalize(self._dataset, self._device)
        batches = Batches(self._dataset, "search_train", self._params.batch_size, seed, normalize)
        augment_at = constant(self._engine, Policy(policy))
        training = Training(network, objective, batches, augment_at, self._params)
        if state is not None:
            _continue(training, state, slot, start_epoch)
        training.prepare()
        seen = epochs * batches.images_per_epoch
        with MeanProbability(objective.teacher) as seen_by_teacher:
            try:
                for _ in range(epochs):
                    training.run_epoch()
            except DivergedError:
                return Outcome(float("nan"), seen, time.perf_counter() - began)
        training.save(out)  # before the statistics change: children go on with these
        reward = _measured(training, self._dataset, normalize)
        return Outcome(reward, seen, time.perf_counter() - began, _extras(seen_by_teacher))

    def confirm(self, schedule: Schedule, seed: int, epochs: int) -> Outcome:
        """Train one candidate of the final; see `rolekd.search.trainer.Trainer`."""
        began = time.perf_counter()
        assert self._spec.search.confirm is not None
        seed = seeds.derive(self._spec.seed, f"confirm {self._spec.role}", seed)
        dataset = splits.redrawn(self._dataset, self._spec.search.confirm.validation_fraction, seed)
        network, objective = self._start(seed)
        normalize = Normalize(dataset, self._device)
        params = self._whole.model_copy(update={"epochs": epochs})
        batches = Batches(dataset, "search_train", params.batch_size, seed, normalize)
        augment_at = applied(self._engine, schedule.stretch(epochs).policy_at)
        training = Training(network, objective, batches, augment_at, params)
        training.prepare()
        seen = epochs * batches.images_per_epoch
        with MeanProbability(objective.teacher) as seen_by_teacher:
            try:
                while not training.finished:
                    training.run_epoch()
            except DivergedError:
                return Outcome(float("nan"), seen, time.perf_counter() - began)
        reward = _measured(training, dataset, normalize)
        return Outcome(reward, seen, time.perf_counter() - began, _extras(seen_by_teacher))

    def _start(self, seed: int) -> tuple[torch.nn.Module, Objective]:
        """Return the role's network and objective as a training begins with them."""
        if self._teacher is None:
            network, _ = roles.teacher(self._teacher_params, self._dataset, seed)
            return network.to(self._device), Objective()
        network, about = roles.student(self._student_params, self._dataset, seed, self._teacher)
        described = (network.to(self._device), about), (self._teacher, self._teacher_about)
        return network, Distillation(*described, self._distill_params, seed)


def _measured(training: Training, dataset: Dataset, normalize: Normalize) -> float:
    """Return the accuracy on search_val of a network whose training is done."""
    images, labels = dataset.split("search_val")
    return accuracy(predict(training.conclude(), images, normalize), labels)


def _extras(seen_by_teacher: MeanProbability) -> dict[str, float]:
    stddev = seen_by_teacher.stddev()
    return {"teacher_stddev": stddev} if math.isfinite(stddev) else {}


def _continue(training: Training, state: Path, slot: Slot, epoch: int) -> None:
    """Put a member where its parent was; a parent's state that is another decides no result."""
    try:
        # the parent may be another member, whose images came in another order
        training.resume(state, any_seed=True)
        fault = "" if training.epoch == epoch else f"of {training.epoch} epochs instead of {epoch}"
    except StateError as error:
        fault = error.reason
    if fault:
        raise RunError(
            f"search: member {slot.member} of generation {slot.generation} starts from a training "
            f"state that is {fault}; {START_AGAIN}"
        )


def training(params: Params, role: str) -> dict[str, Any]:
    """Return what `SearchSpec.training` holds for a role, from all parameters.

    These are the sections augment, the role's own and for a student distill, and the kind of
    device: a search that began on a GPU goes on nowhere else.
    """
    sections = ("augment", "teacher") if role == "teacher" else ("augment", "student", "distill")
    values = params.model_dump(mode="json", include=set(sections))
    return {**values, "device": devices.resolve(params.machine.device).type}
