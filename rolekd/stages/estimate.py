"""How long will a run take, and how much memory? Estimated from a few timed steps of each network.

Images are counted from params.yaml, as every stage sees them; seconds for an image are measured
here and now, with one training alone. Stages that only prepare, draw or register take as long as a
process takes to start, which is timed, too.
"""

import itertools
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import torch
from torch import nn

from rolekd import processes
from rolekd.augment.named import HANDMADE
from rolekd.data import dataset as datasets
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import EpochProgress, Objective
from rolekd.errors import InputError
from rolekd.outputs import Outputs
from rolekd.params import Params, Role, TrainingParams
from rolekd.stages import plan
from rolekd.stages.budget import budget_of
from rolekd.train import devices, roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.evaluate import predict_as_deployed
from rolekd.train.seats import seats
from rolekd.train.training import Training

_WARM_STEPS = 2  # libraries compile and allocate in the first
_SECONDS = 0.7  # of timed steps of each kind, at least one of them
_TESTED = 512  # images at once
_START_FACTOR = 1.5  # a stage's start over this process's: it also loads MLflow and writes

# stages that train and test nothing; the report draws for as long as three more starts take
OTHERS = ("plan", "augmentations", "export", "report", "register")
_REPORT_DRAWS = 3

TEACHER_WORK, STUDENT_WORK, DISTILLED_WORK = "teacher", "student", "distilled student"
TESTED = "student in integers"


@dataclass(frozen=True)
class StageWork:
    """What a stage trains or tests.

    Attributes:
        stage: Its name; of the arms together `distill`.
        trainings: How many, at most.
        images: Kind of training, or test -> images that all of them see together.
        processes: How many run at once.
        starts: How many processes of DVC it takes.
    """

    stage: str
    trainings: int
    images: dict[str, int]
    processes: int
    starts: int = 1


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        seconds: Stage -> wall time.
        work: What each trains.
        images_per_second: Kind of training -> images of one process.
        megabytes: Stage -> memory of its processes together, at most.
    """

    seconds: dict[str, float]
    work: list[StageWork]
    images_per_second: dict[str, float]
    megabytes: dict[str, int]


def estimate(params: Params, outputs: Outputs) -> Estimate:
    """Estimate the stages that follow `prepare`.

    Raises:
        InputError: The data are not prepared, or do not fit the parameters.
    """
    # the stage plan provides the weights that networks begin with
    named = [outputs.pretrained(role) for role in get_args(Role) if getattr(params, role).weights]
    if missing := next((path for path in (outputs.data, *named) if not path.exists()), None):
        raise InputError(f"{missing}: not prepared yet; dvc repro prepare plan")
    dataset = datasets.load(outputs.data)
    found = list(planned_work(params, dataset))
    began = time.process_time()  # of this process so far: the libraries of every stage
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kinds = {kind for one in found for kind in one.images}
    pace, peak = {}, {}
    for kind in sorted(kinds):
        pace[kind] = _seconds_per_image(kind, params, dataset)
        # the largest of this process so far: of this kind, or of one before it
        peak[kind] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = {
        one.stage: _START_FACTOR * began * one.starts
        + sum(pace[kind] * count for kind, count in one.images.items()) / one.processes
        for one in found
    }
    return Estimate(
        seconds,
        found,
        {kind: round(1 / value, 1) for kind, value in pace.items()},
        {
            one.stage: round(one.processes * max([peak[kind] for kind in one.images] or [start]))
            for one in found
        },
    )


def planned_work(params: Params, dataset: Dataset) -> Iterator[StageWork]:
    """Yield what each stage that an arm asks for trains, in the order of the pipeline."""
    wanted, arms = plan.wanted_stages(params), params.compare.arms.values()
    search, both = params.search, get_args(Role)
    sizes = dataset.sizes
    train, cores = sizes["train"], processes.cores()
    gpu = devices.resolve(params.machine.device).type != "cpu"

    def at_once(threads: int, tasks: int) -> int:
        found = len(seats(params.machine, threads, tasks))
        return found if gpu else max(1, min(found, cores))

    # DVC starts these, too, and the stages that no arm asks for, which then do nothing
    starts = len(OTHERS) + _REPORT_DRAWS + len(plan.STAGES)
    for role in both:
        if (f"search_{role}", None) in wanted:
            found = budget_of(params, role, sizes, dataset.own_validation)
            kind = TEACHER_WORK if role == "teacher" else DISTILLED_WORK
            images = {kind: found.proposed + found.confirmed}
            if found.taught:
                images[DISTILLED_WORK] = found.taught
            final = search.confirm.trainings * (2 if found.taught else 1) if search.confirm else 0
            if found.teachers:
                images[TEACHER_WORK] = found.teachers
                final += search.confirm.seeds if search.confirm else 0
            members = search.population * (search.restarts + 1) if search.lanes else 0
            several = at_once(search.threads_per_worker, members + final)
            starts -= 1
            yield StageWork(f"search_{role}", members + final, images, several)
        if role == "teacher" and params.teacher.train:
            for name in params.compare.teachers:
                images = {TEACHER_WORK: train * params.teacher.training.epochs}
                starts -= 1
                yield StageWork(f"train_teacher@{name}", 1, images, 1)
    images = {}
    for arm in arms:
        kind = DISTILLED_WORK if arm.distilled else STUDENT_WORK
        more = train * params.student.training.epochs * params.compare.seeds
        images[kind] = images.get(kind, 0) + more
    several = at_once(params.threads, params.compare.seeds)
    students = len(arms) * params.compare.seeds
    yield StageWork("distill", students, images, several, len(arms))
    several = max(cores // params.threads, 1)  # as in the stage
    # one more than there are students: the export is verified on the same images
    yield StageWork("evaluate", 0, {TESTED: (students + 1) * sizes["test"]}, several)
    yield StageWork("the others", 0, {}, 1, starts)


def _seconds_per_image(kind: str, params: Params, dataset: Dataset) -> float:
    """Time some steps of a training, as in its stage."""
    device = devices.set_up(params.machine.device, params.threads)
    network, about = roles.teacher(params.teacher, dataset, seed=0)
    if kind == TESTED:
        return _tested(roles.student(params.student, dataset, 0, network)[0], dataset)
    objective: Objective = Objective()
    settings = params.teacher.training
    if kind != TEACHER_WORK:
        teacher = network.to(device).eval(), about
        network, about = roles.student(params.student, dataset, 0, teacher[0])
        settings = params.student.training
        if kind == DISTILLED_WORK:
            described = network.to(device), about
            objective = Distillation(described, teacher, params.distill, seed=0)
    return _timed(network.to(device), objective, settings, params, dataset, device)


def _tested(student: nn.Module, dataset: Dataset) -> float:
    """Time a student on test images, as in the stage evaluate."""
    images, count = dataset.split("test")[0], 0
    with torch.no_grad():  # a learned step takes its first value from a batch
        student.train()(Normalize(dataset, torch.device("cpu"))(images[:_TESTED]))
    predict_as_deployed(student, images[:1], dataset)
    began = time.perf_counter()
    while (seconds := time.perf_counter() - began) < _SECONDS:
        count += len(predict_as_deployed(student, images[:_TESTED], dataset))
    return seconds / count


def _timed(
    network: nn.Module,
    objective: Objective,
    settings: TrainingParams,
    params: Params,
    dataset: Dataset,
    device: torch.device,
) -> float:
    batches = Batches(dataset, "train", settings.batch_size, 0, Normalize(dataset, device))
    # a strong augmentation: that of a search may be as slow
    engine = make_engine(params.augment, dataset, params.threads)
    augment_at = constant(engine, HANDMADE["randaugment"][0])
    training = Training(network, objective, batches, augment_at, settings)
    training.prepare()
    network.train()
    epochs = (batches.epoch(epoch, augment_at(epoch)) for epoch in itertools.count())
    images, seconds, began = 0, 0.0, time.perf_counter()
    for number, (batch, labels, _) in enumerate(itertools.chain.from_iterable(epochs)):
        training.step(batch, labels, EpochProgress(0, settings.epochs))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number < _WARM_STEPS:
            began = time.perf_counter()
            continue
        images, seconds = images + len(labels), time.perf_counter() - began
        if seconds > _SECONDS:
            break
    return seconds / images
