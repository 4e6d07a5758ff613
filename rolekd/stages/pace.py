"""How fast this machine trains the networks of params.yaml, from a few timed steps of each.

`rolekd estimate` measures all kinds of work and keeps the result. A search that begins says how
long it may take by what is kept, and measures only if nothing that fits is. Whoever asks does not
compute: it may have to fork, and the memory of a kind of work is that of its process.
"""

import itertools
import resource
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from rolekd import files
from rolekd.augment.engine import Engine
from rolekd.augment.named import HANDMADE
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import EpochProgress, Objective
from rolekd.errors import InputError, RolekdError
from rolekd.params import Params, TrainingParams
from rolekd.track import store
from rolekd.train import devices, roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.evaluate import at_once, predict_as_deployed
from rolekd.train.training import Training
from rolekd.workers import WorkerProcess, end

TEACHER_WORK, STUDENT_WORK, DISTILLED_WORK = "teacher", "student", "distilled student"
TESTED = "student in integers"

_WARM_STEPS = 2  # libraries compile and allocate in the first
_SECONDS = 0.7  # of timed steps of each kind, at least one of them
# sections of params.yaml that decide how long a step takes
_SECTIONS = ("augment", "teacher", "student", "distill")


class Work(NamedTuple):
    """A kind of training, or the test, and the threads of its process."""

    kind: str
    threads: int


def known_or_measured(
    works: Iterable[Work], params: Params, dataset: Dataset, environment: Mapping[str, str]
) -> dict[Work, float] | None:
    """Return seconds for an image of each kind of work, as measured before or in a new process.

    Args:
        works: What is asked for.
        params: All parameters.
        dataset: What is trained on.
        environment: What that process has in its environment besides ours, such as its GPU.

    Returns:
        None: that process failed; whoever needs the numbers for a sentence leaves them out.
    """
    found = _kept(params, dataset)
    missing = [work for work in works if work not in found]
    if missing:
        try:
            measured = measure_apart(missing, params, dataset, environment)
        except RolekdError:
            return None
        found |= {work: one.seconds for work, one in measured.items()}
    return {work: found[work] for work in works}


@dataclass(frozen=True)
class Pace:
    """What a kind of work costs on this machine.

    Attributes:
        seconds: For an image.
        megabytes: The largest memory of the process.
    """

    seconds: float
    megabytes: float


def measure_apart(
    works: Iterable[Work],
    params: Params,
    dataset: Dataset,
    environment: Mapping[str, str] | None = None,
) -> dict[Work, Pace]:
    """Measure kinds of work, each in a process of its own, and keep the result.

    Raises:
        RolekdError: One of them failed, or was killed, as for want of memory.
    """
    found = {}
    for work in works:
        worker = WorkerProcess.start(_measure_here, work, params, dataset, environment=environment)
        try:
            found[work] = worker.receive()
        except EOFError as error:
            raise worker.loss(f"the process that timed the {work.kind}") from error
        finally:
            end([worker])
    _keep({work: one.seconds for work, one in found.items()}, params, dataset)
    return found


def _keep(found: Mapping[Work, float], params: Params, dataset: Dataset) -> None:
    """Keep seconds for an image of kinds of work, for searches that begin later."""
    rows = [[*work, seconds] for work, seconds in {**_kept(params, dataset), **found}.items()]
    files.write_json(_file(), {"key": _key(params, dataset), "seconds": rows})


def _kept(params: Params, dataset: Dataset) -> dict[Work, float]:
    try:
        content: Any = files.read_json(_file())
        if content["key"] != _key(params, dataset):
            return {}
        rows = content["seconds"]
        return {Work(str(kind), int(threads)): float(value) for kind, threads, value in rows}
    except (InputError, KeyError, TypeError, ValueError, AttributeError):
        return {}  # not there, or not ours: it is measured again


def _file() -> Path:
    return store.project_root() / ".rolekd" / "pace.json"


def _key(params: Params, dataset: Dataset) -> str:
    return files.digest(
        {
            "data": dataset.digest,
            "device": devices.resolve(params.machine.device).type,
            "torch": torch.__version__,
            **params.model_dump(mode="json", include={*_SECTIONS}),
        }
    )


def _measure_here(pipe: Connection, work: Work, params: Params, dataset: Dataset) -> None:
    seconds = _measure(work, params, dataset)
    pipe.send(Pace(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def _measure(work: Work, params: Params, dataset: Dataset) -> float:
    """Return seconds for an image, from some steps of a training, or of a test, as in its stage."""
    kind, threads = work
    device = devices.set_up(params.machine.device, threads)
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
    engine = make_engine(params.augment, dataset, threads)
    return _timed(network.to(device), objective, settings, engine, dataset, device)


def _tested(student: nn.Module, dataset: Dataset) -> float:
    """Time a student on test images, as in the stage evaluate."""
    images, count = dataset.split("test")[0], 0
    images = images[: at_once(images)]
    with torch.no_grad():  # a learned step takes its first value from a batch
        student.train()(Normalize(dataset, torch.device("cpu"))(images))
    predict_as_deployed(student, images[:1], dataset)
    began = time.perf_counter()
    while (seconds := time.perf_counter() - began) < _SECONDS:
        count += len(predict_as_deployed(student, images, dataset))
    return seconds / count


def _timed(
    network: nn.Module,
    objective: Objective,
    settings: TrainingParams,
    engine: Engine,
    dataset: Dataset,
    device: torch.device,
) -> float:
    batches = Batches(dataset, "train", settings.batch_size, 0, Normalize(dataset, device))
    # a strong augmentation: that of a search may be as slow
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
