"""How long will a run take, and how much memory? Estimated from a few timed steps of each network.

Images are counted from params.yaml, as every stage sees them; seconds for an image are measured
here and now, with one training alone. Stages that only prepare, draw or register take as long as a
process takes to start, which is timed, too.
"""

import resource
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from rolekd import processes
from rolekd.data import dataset as datasets
from rolekd.data.dataset import Dataset
from rolekd.errors import InputError
from rolekd.models import stems
from rolekd.outputs import Outputs
from rolekd.params import Params, Role
from rolekd.quantize.size import network_size
from rolekd.stages import pace, plan
from rolekd.stages.budget import budget_of
from rolekd.stages.pace import DISTILLED_WORK, STUDENT_WORK, TEACHER_WORK, TESTED, Work
from rolekd.train import devices, roles
from rolekd.train.seats import seats

_START_FACTOR = 1.5  # a stage's start over this process's: it also loads MLflow and writes

# stages that train and test nothing; the report draws for as long as three more starts take
OTHERS = ("plan", "augmentations", "export", "report", "register")
_REPORT_DRAWS = 3
_REMEDY = "dvc repro prepare plan"


@dataclass(frozen=True)
class StageWork:
    """What a stage trains or tests.

    Attributes:
        stage: Its name; of the arms together `distill`.
        trainings: How many, at most.
        images: Kind of training, or test -> images that all of them see together.
        processes: How many run at once.
        threads: Of each.
        starts: How many processes of DVC it takes.
    """

    stage: str
    trainings: int
    images: dict[str, int]
    processes: int
    threads: int = 1
    starts: int = 1

    @property
    def works(self) -> dict[Work, int]:
        """The images of each kind of work."""
        return {Work(kind, self.threads): count for kind, count in self.images.items()}

    def seconds(self, per_image: Mapping[Work, float]) -> float:
        """Return how long its images take, given seconds for an image of each kind of work."""
        return sum(per_image[work] * count for work, count in self.works.items()) / self.processes


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        seconds: Stage -> wall time.
        work: What each trains.
        images_per_second: Kind of work, with its threads if they differ -> images of one process.
        megabytes: Stage -> memory of its processes together, at most.
        networks: Role -> what its network does at the size of these images, as text.
    """

    seconds: dict[str, float]
    work: list[StageWork]
    images_per_second: dict[str, float]
    megabytes: dict[str, int]
    networks: dict[str, str]


def estimate(params: Params, outputs: Outputs) -> Estimate:
    """Estimate the stages that follow `prepare`.

    Raises:
        InputError: The data are not prepared, or do not fit the parameters.
    """
    dataset = _prepared(params, outputs)
    found = list(planned_work(params, dataset))
    began = time.process_time()  # of this process so far: the libraries of every stage
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    works = sorted({work for one in found for work in one.works})
    measured = pace.measure_apart(works, params, dataset)
    per_image = {work: one.seconds for work, one in measured.items()}
    return Estimate(
        {one.stage: _START_FACTOR * began * one.starts + one.seconds(per_image) for one in found},
        found,
        {_name(work, works): round(1 / value, 1) for work, value in per_image.items()},
        {
            one.stage: round(
                one.processes * max([measured[work].megabytes for work in one.works] or [start])
            )
            for one in found
        },
        {role: _network(params, role, dataset) for role in get_args(Role)},
    )


def _prepared(params: Params, outputs: Outputs) -> Dataset:
    """Return the prepared data; refuse what `prepare` and `plan` have not made of these params."""
    named = [outputs.pretrained(role) for role in get_args(Role) if getattr(params, role).weights]
    missing = next((path for path in (outputs.data, *named) if not path.exists()), None)
    # without weights to begin with, plan writes a file without any
    without = next((path for path in named if path.exists() and plan.is_blank(path)), None)
    if missing or without:
        raise InputError(f"{missing or without}: not prepared yet; {_REMEDY}")
    dataset, wanted = datasets.load(outputs.data), params.data
    sides, side = dataset.image_size, wanted.image_size
    for key, has, asked in (
        ("source", dataset.name, wanted.name),
        ("image_size", sides[0], side if side is not None else sides[0]),
        ("channels", dataset.channels, wanted.channels or dataset.channels),
    ):
        if has != asked:
            raise InputError(
                f"{outputs.data}: was prepared with data.{key} {has}, and params.yaml has {asked} "
                f"now; {_REMEDY}"
            )
    return dataset


def _name(work: Work, among: Iterable[Work]) -> str:
    """Return the kind of work, with its threads where they say which."""
    alike = len({other.threads for other in among}) == 1
    return work.kind if alike else f"{work.kind}, {work.threads} threads"


def _network(params: Params, role: Role, dataset: Dataset) -> str:
    """Return what a role's network is, and what its stem does: that depends on the image size."""
    about = roles.describe(params, role, roles.shape_of(dataset))
    network, (height, width) = roles.build(about, seed=0), dataset.image_size
    work = network_size(network, (dataset.channels, height, width)).multiply_accumulates / 1e6
    sides = f"{height}x{width}x{dataset.channels}"
    cost = f"{work:,.1f} million MACs"
    return f"{about['model']}, images {sides}: {stems.describe(network)}, {cost}"


def planned_work(params: Params, dataset: Dataset) -> Iterator[StageWork]:
    """Yield what each stage that an arm asks for trains, in the order of the pipeline."""
    wanted, arms = plan.wanted_stages(params), params.compare.arms.values()
    sizes, train = dataset.sizes, dataset.sizes["train"]
    # DVC starts these, too, and the stages that no arm asks for, which then do nothing
    starts = len(OTHERS) + _REPORT_DRAWS + len(plan.STAGES)
    for role in get_args(Role):
        if (f"search_{role}", None) in wanted:
            starts -= 1
            yield search_work(params, role, dataset)
        if role == "teacher" and params.teacher.train:
            for name in params.compare.teachers:
                images = {TEACHER_WORK: train * params.teacher.training.epochs}
                starts -= 1
                yield StageWork(f"train_teacher@{name}", 1, images, 1, params.threads)
    images = {}
    for arm in arms:
        kind = DISTILLED_WORK if arm.distilled else STUDENT_WORK
        more = train * params.student.training.epochs * params.compare.seeds
        images[kind] = images.get(kind, 0) + more
    several = _at_once(params, params.threads, params.compare.seeds)
    students = len(arms) * params.compare.seeds
    yield StageWork("distill", students, images, several, params.threads, len(arms))
    several = max(processes.cores() // params.threads, 1)  # as in the stage
    # one more than there are students: the export is verified on the same images
    tested = {TESTED: (students + 1) * sizes["test"]}
    yield StageWork("evaluate", 0, tested, several, params.threads)
    yield StageWork("the others", 0, {}, 1, starts=starts)


def search_work(params: Params, role: Role, dataset: Dataset) -> StageWork:
    """Return what the search of a role trains, at most."""
    search = params.search
    found = budget_of(params, role, dataset)
    kind = TEACHER_WORK if role == "teacher" else DISTILLED_WORK
    images = {kind: found.proposed + found.confirmed}
    if found.taught:
        images[DISTILLED_WORK] = found.taught
    final = search.confirm.trainings * (2 if found.taught else 1) if search.confirm else 0
    if found.teachers:
        images[TEACHER_WORK] = found.teachers
        final += search.confirm.seeds if search.confirm else 0
    members = search.population * (search.restarts + 1) if search.lanes else 0
    threads = search.threads_per_worker
    several = _at_once(params, threads, members + final)
    return StageWork(f"search_{role}", members + final, images, several, threads)


def _at_once(params: Params, threads: int, tasks: int) -> int:
    """Return how many trainings of so many threads run at once; beyond the cores none is faster."""
    found = len(seats(params.machine, threads, tasks))
    if devices.resolve(params.machine.device).type != "cpu":
        return found
    return max(1, min(found, processes.cores()))
