"""A member of a search: one generation of training, and its accuracy on search_val."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rolekd import processes, seeds
from rolekd.augment.named import NONE, NamedAugmentation
from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.data import dataset as datasets
from rolekd.data import fits
from rolekd.data.batches import Augment, Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.distill.predictor import Predictors
from rolekd.distill.taps import Described
from rolekd.errors import HopelessError, RunError
from rolekd.fleet.artifacts import START_AGAIN
from rolekd.fleet.jobs import hash_inputs, installed_versions
from rolekd.fleet.tasks import Outcome, Slot
from rolekd.params import (
    BaseAugmentParams,
    DistillParams,
    Params,
    Role,
    StudentParams,
    TeacherParams,
    TrainingParams,
)
from rolekd.search.explore import PolicyIntegers
from rolekd.search.final import LOG_LOSS, TEACHER_ACCURACY
from rolekd.search.spec import SearchSpec
from rolekd.sources import splits
from rolekd.train import devices, roles
from rolekd.train.augmentation import applied, constant, make_engine
from rolekd.train.evaluate import accuracy, log_loss, predict
from rolekd.train.fit import fit
from rolekd.train.state import StateError, save_weights
from rolekd.train.training import DivergedError, Training

DATA = "data"
TEACHER_FILE = "teacher.safetensors"


class Member:
    """Trains the tasks of a search for either role, on what the folder of inputs holds.

    The inputs are `data/`, a data set with the splits search_train and search_val only, and for a
    student `teacher.safetensors`. `spec.training` is what `training` returns. The workers of a
    machine share the teachers of a student's final in `keep`.
    """

    def __init__(self, spec: SearchSpec, inputs: Path, keep: Path) -> None:
        self._device = devices.set_up(spec.training["device"], spec.search.threads_per_worker)
        self._spec, self._keep = spec, keep
        self._dataset = datasets.load(inputs / DATA)
        base = BaseAugmentParams.model_validate(spec.training["augment"])
        self._engine = make_engine(base, self._dataset, spec.search.threads_per_worker)
        self._teacher: Described | None = None
        if "student" in spec.training:
            self._student_params = StudentParams.model_validate(spec.training["student"])
            self._distill_params = DistillParams.model_validate(spec.training["distill"])
        if "teacher" in spec.training:
            self._teacher_params = TeacherParams.model_validate(spec.training["teacher"])
        if spec.role == "teacher":
            params = self._teacher_params.training
        else:
            params = self._student_params.training
            self._teacher = self._load(inputs / TEACHER_FILE)
        self._whole = params
        if spec.search.confirm is not None:
            self._check_final(spec.search.confirm.validation_fraction)
        # a member's lr_schedule is stretched over the search
        self._params = params.model_copy(update={"epochs": spec.search.epochs})

    def _check_final(self, fraction: float) -> None:
        """Refuse what cannot be split or trained now, not when the algorithm has ended."""
        part = splits.redrawn(self._dataset, fraction, self._spec.seed).splits["search_train"]
        of_roles = {self._spec.role: self._whole}
        if self._spec.judged_by_students:
            of_roles["student"] = self._student_params.training
        for role, params in of_roles.items():
            section = f"search.confirm.validation_fraction {fraction:g}: {role}.training"
            fits.check_batches(section, params, len(part), 1)

    def advance(
        self,
        state: Path | None,
        policy: PolicyIntegers,
        slot: Slot,
        start_epoch: int,
        epochs: int,
        out: Path,
    ) -> Outcome:
        """Train one task; see `rolekd.search.trainer.SearchTrainer`."""
        # of the member alone: batches and noise also depend on the epoch, so generations differ
        seed = seeds.derive(self._spec.seed, f"search {self._spec.role}", slot.member)
        network, objective, _ = self._start(seed, self._teacher)
        augment_at = constant(self._engine, Policy(policy))
        training = self._begin(self._dataset, network, objective, self._params, augment_at, seed)
        if state is not None:
            _continue(training, state, slot, start_epoch)
        return self._train(training, self._dataset, epochs, out)

    def confirm(self, schedule: Schedule, seed: int, epochs: int) -> Outcome:
        """Train one candidate of the final; see `rolekd.search.trainer.SearchTrainer`."""
        began = time.perf_counter()
        assert self._spec.search.confirm is not None
        # not of the candidate: with equal seeds, candidates are pairs
        seed = seeds.derive(self._spec.seed, f"confirm {self._spec.role}", seed)
        dataset = splits.redrawn(self._dataset, self._spec.search.confirm.validation_fraction, seed)
        params = self._whole.model_copy(update={"epochs": epochs})
        augment_at = applied(self._engine, schedule.stretch(epochs).policy_at)
        teacher = self._trained_anew(dataset, seed) if self._anew else self._teacher
        network, objective, about = self._start(seed, teacher)
        training = self._begin(dataset, network, objective, params, augment_at, seed)
        found = self._train(training, dataset, epochs)
        if self._spec.judged_by_students:
            found = self._teach(dataset, (network, about), found, seed)
        return replace(found, seconds=time.perf_counter() - began)

    def _teach(self, dataset: Dataset, teacher: Described, found: Outcome, seed: int) -> Outcome:
        """Return how well a student without a policy learns from a teacher with this outcome."""
        if math.isnan(found.accuracy):
            return found
        student, about = roles.student(self._student_params, dataset, seed, teacher[0])
        objective = Distillation(
            (student.to(self._device), about), teacher, self._distill_params, seed
        )
        params, plain = self._student_params.training, constant(self._engine, None)
        training = self._begin(dataset, student, objective, params, plain, seed)
        learned = self._train(training, dataset, params.epochs)
        return replace(
            learned,
            images_seen=found.images_seen + learned.images_seen,
            extras={**learned.extras, TEACHER_ACCURACY: found.accuracy},
        )

    def _begin(
        self,
        dataset: Dataset,
        network: torch.nn.Module,
        objective: Objective,
        params: TrainingParams,
        augment_at: Callable[[int], Augment],
        seed: int,
    ) -> Training:
        normalize = Normalize(dataset, self._device)
        batches = Batches(dataset, "search_train", params.batch_size, seed, normalize)
        return Training(network, objective, batches, augment_at, params)

    def _train(
        self, training: Training, dataset: Dataset, epochs: int, out: Path | None = None
    ) -> Outcome:
        """Train some epochs, write the state to `out`, and measure what would be saved."""
        with training.explained():
            return self._run(training, dataset, epochs, out)

    def _run(self, training: Training, dataset: Dataset, epochs: int, out: Path | None) -> Outcome:
        began = time.perf_counter()
        training.prepare()
        seen = epochs * len(dataset.splits["search_train"])
        with Predictors(training.objective) as predictors:
            try:
                for _ in range(epochs):
                    training.run_epoch()
            except DivergedError:
                # the log loss of a guess
                worst = {LOG_LOSS: math.log(len(dataset.classes))}
                return Outcome(float("nan"), seen, time.perf_counter() - began, worst)
        if out is not None:
            training.save(out)  # before BatchNorm's statistics change: children continue with these
        network, final = training.network, training.conclude()
        if final is not network:  # a student learns from what would be saved
            network.load_state_dict(final.state_dict())
        images, labels = dataset.split("search_val")
        logits = predict(network.eval(), images, Normalize(dataset, self._device))
        found, seconds = accuracy(logits, labels), time.perf_counter() - began
        extras = {LOG_LOSS: log_loss(logits, labels), **predictors.values()}
        return Outcome(found, seen, seconds, extras)

    @property
    def _anew(self) -> bool:
        """Whether a student's teacher is trained on the images of its split alone.

        Validation images of your own are not among those that the teacher has learned.
        """
        trains = self._spec.role == "student" and "teacher" in self._spec.training
        return trains and not self._dataset.own_validation

    def _trained_anew(self, dataset: Dataset, seed: int) -> Described:
        """Return the teacher of a split: trained here, or by another worker of this machine.

        A teacher trained on all images has learned those that the final measures on, and the
        student begins with its weights: what disturbs that memory, as augmentation does, would
        seem to harm. On CIFAR-10 with 2,000 images students reach 71 to 75 % on such images and
        68 % on test images (docs/search.md).

        Raises:
            HopelessError: Its loss became NaN: no candidate can be measured on that split.
        """
        path = self._keep / f"teacher-{seed}.safetensors"
        with processes.exclusive(path.with_suffix(".lock"), "this teacher", wait=math.inf):
            if not path.exists():
                network, about = roles.teacher(self._teacher_params, dataset, seed)
                params = self._teacher_params.training
                taught = NamedAugmentation.from_json(self._spec.training["taught"], TEACHER_FILE)
                augment_at = applied(self._engine, taught.over(params.epochs))
                network.to(self._device)
                training = self._begin(dataset, network, Objective(), params, augment_at, seed)
                state = path.with_suffix(".state")
                try:
                    fit(training, state)
                except DivergedError as error:
                    reason = str(error).removeprefix("training: ").partition(";")[0]
                    raise HopelessError(
                        "search.confirm.teacher anew: the teacher of one of the final's splits "
                        f"diverged ({reason}); lower teacher.training.learning_rate, or set "
                        "search.confirm.teacher to given"
                    ) from error
                save_weights(path, network, about)
                state.unlink(missing_ok=True)
        return self._load(path)

    def _load(self, path: Path) -> Described:
        network, about = roles.load(path, self._dataset)
        return network.to(self._device), about

    def _start(
        self, seed: int, teacher: Described | None
    ) -> tuple[torch.nn.Module, Objective, dict[str, Any]]:
        """Return the role's network as a training begins with it, its objective and description."""
        if teacher is None:
            network, about = roles.teacher(self._teacher_params, self._dataset, seed)
            return network.to(self._device), Objective(), about
        network, about = roles.student(self._student_params, self._dataset, seed, teacher[0])
        described = network.to(self._device), about
        return network, Distillation(described, teacher, self._distill_params, seed), about


def _continue(training: Training, state: Path, slot: Slot, epoch: int) -> None:
    """Put a member where its parent was; refuse a state that is not its parent's."""
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


def training(params: Params, role: Role, taught: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what `SearchSpec.training` holds for a role, from all parameters.

    These are the section augment, those of the roles that are trained, distill if students are
    trained, and the kind of device: a search that began on a GPU continues on GPUs only. For
    `taught` see `make_spec`.
    """
    networks = params.trained_by_search(role)
    sections = {"augment", *networks} | ({"distill"} if "student" in networks else set())
    values = params.model_dump(mode="json", include=sections)
    if role == "student" and "teacher" in networks:
        values["taught"] = taught or NamedAugmentation(NONE).to_json()
    return {**values, "device": devices.resolve(params.machine.device).type}


def make_spec(
    params: Params,
    role: Role,
    inputs: Path,
    given: Mapping[str, Any] | None = None,
    taught: Mapping[str, Any] | None = None,
) -> SearchSpec:
    """Return the search of a role's schedule that `Member` trains for.

    Args:
        params: All parameters.
        role: "teacher" or "student".
        inputs: Folder of what it may see.
        given: See `SearchSpec`.
        taught: What augments the student's teacher, if a final trains it anew, as
            `NamedAugmentation.to_json` returns it; None: no policy.
    """
    return SearchSpec(
        seed=params.seed,
        role=role,
        trainer="member",
        search=params.search,
        training=training(params, role, taught),
        inputs=hash_inputs(inputs),
        versions=installed_versions(),
        epochs=getattr(params, role).training.epochs,
        given=given or {},
    )
