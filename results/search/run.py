"""Do searches harm, and do they find what is there? Search, then train anew and test.

    python -m results.search.run digits results/search/digits-300.yaml
    python -m results.search.run digits results/search/digits.yaml
    python ../shared/data/unpack_cifar.py cifar10 /tmp/cifar
    python -m results.search.run /tmp/cifar results/search/cifar10.yaml

For each search seed the teacher's schedule is searched, and teachers are trained with it and with
none on all training images, over fresh seeds; then the student's schedule is searched under the
first of the teachers with the winner, and students are trained in the same way. Searches see only
training images. A file of searches has `searches` and `seeds` (the number of each), `preset`, and
in `base` parameters that differ from it, with dotted keys; `compare` names what else is trained:
hand-made augmentations, and `plain` for a student without a teacher. With `data_seed` all searches
have the same training images, otherwise each has its own. `NAME.searches.csv` has a row for each
search, `NAME.trainings.csv` one for each training, written as soon as it is ready, and
`NAME.schedules` what won: run it again to resume, on another machine, too. What has been trained
once, such as a winner that two searches share, is not trained again. Each training has one thread;
`--workers` trainings and `--at-once` searches run at a time, on a GPU if there is one.
"""

import csv
import functools
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from results.recipes.run import append, params_of
from rolekd import seeds, yamlfiles
from rolekd.augment import ladder, named
from rolekd.augment import schedule as schedules
from rolekd.search.final import SCALES

ROLES = ("teacher", "student")
NONE, PLAIN, WINNER = "none", "plain", "winner"


@dataclass(frozen=True)
class Searches:
    """A file of searches, and where their data is."""

    file: Path
    place: str
    content: dict[str, Any]

    @functools.cached_property
    def params(self) -> Any:
        """The parameters of all searches, but for the seed."""
        base = dict(self.content.get("base") or {})
        if self.place != "digits":
            base |= {"data.source": "cifar10", "data.path": self.place}
        return params_of(base, preset=self.content.get("preset", "digits"))

    def data_seed(self, number: int) -> int:
        """Return the seed that draws the training images of a search."""
        return int(self.content.get("data_seed", number))

    def data(self, seed: int) -> Any:
        """Return the data set of a seed; kept, since many trainings of a process take it."""
        return _prepared(seed, self.params.data.model_dump_json())

    def folder(self, number: int) -> Path:
        """Return the folder of a search's state."""
        return (self.file.parent / f".{self.file.stem}" / str(number)).resolve()

    def schedule(self, number: int, role: str) -> Path:
        """Return the file of the schedule that won a search; committed, as the rows are."""
        return self.file.with_suffix(".schedules") / f"{number}-{role}.json"

    def teacher(self, run: "Run") -> Path:
        """Return the file of the teacher that the students of a run learn from."""
        return self.folder(0).parent / f"teacher-{run.data}-{run.teacher}.safetensors"

    def records(self, kind: str) -> Path:
        """Return the file of the rows of searches or trainings."""
        return self.file.with_suffix(f".{kind}.csv")


@dataclass(frozen=True)
class Run:
    """A training that belongs to no search.

    Attributes:
        data: Seed of the training images.
        role: Which is trained.
        teacher: What augmented the teacher; empty for a teacher.
        what: The augmentation, or plain.
        seed: Of the training.
    """

    data: int
    role: str
    teacher: str
    what: str
    seed: int


@functools.cache
def _prepared(seed: int, source: str) -> Any:
    from rolekd.params import DataParams
    from rolekd.sources.prepare import prepare

    return prepare(DataParams.model_validate_json(source), seed)


def search(searches: Searches, number: int, role: str, teacher: Run, workers: int) -> None:
    """Search one role's schedule; call it in a process of its own."""
    from rolekd.data import dataset as datasets
    from rolekd.search import runner
    from rolekd.search.member import DATA, TEACHER_FILE, make_spec

    folder = searches.folder(number)
    inputs = folder / f"inputs-{role}"
    data = searches.data(searches.data_seed(number))
    shutil.rmtree(inputs, ignore_errors=True)  # of a killed call
    datasets.save_splits(data, ("search_train", "search_val"), inputs / DATA)
    given = {}
    if role == "student":
        shutil.copy(searches.teacher(teacher), inputs / TEACHER_FILE)
        won = schedules.load(searches.schedule(number, "teacher"))
        given = {named.TEACHER_SCHEDULE: won.to_json()}
    params = searches.params.model_copy(update={"seed": number})
    spec = make_spec(params, role, inputs, given)
    began = time.time()
    found = runner.run(spec, inputs, folder / f"search-{role}", workers=workers)
    verdict = found.verdict
    assert verdict is not None
    row = {
        "search": number,
        "role": role,
        "winner": verdict.winner.name,
        "best": verdict.best.name,
        "measure": verdict.best.measure,
        "gain": round(verdict.best.gain, 5),
        "error": round(verdict.best.error, 5),
        "trainings": sum(len(one.accuracies) for one in verdict.standings),
        "seconds": round(time.time() - began, 1),
    }
    known = next((one for one in _rows(searches, "searches") if _is(one, number, role)), None)
    if known is None:
        append(searches.records("searches"), row)
    elif {**known, "seconds": ""} != {**{k: str(v) for k, v in row.items()}, "seconds": ""}:
        sys.exit(
            f"{searches.records('searches')}: search {number} of the {role} found something else "
            "there than here; remove its row, and the trainings of its winner, to do it anew"
        )
    searches.schedule(number, role).parent.mkdir(exist_ok=True)
    found.schedule.save(searches.schedule(number, role))


def train_one(searches: Searches, run: Run, schedule: Path | None) -> dict[str, Any]:
    """Train one network on all training images of a search; return its row."""
    from rolekd.augment.named import NamedAugmentation
    from rolekd.data.batches import Batches, Normalize
    from rolekd.distill.distillation import Distillation
    from rolekd.distill.objective import Objective
    from rolekd.train import devices, roles
    from rolekd.train.augmentation import applied, make_engine
    from rolekd.train.evaluate import accuracy, predict
    from rolekd.train.fit import fit
    from rolekd.train.state import save_weights
    from rolekd.train.training import Training

    params, data = searches.params, searches.data(run.data)
    device = devices.set_up(params.machine.device, 1)
    normalize = Normalize(data, device)
    own = seeds.derive(run.data, f"fresh {run.role}", run.seed)
    objective: Any = Objective()
    training = getattr(params, run.role).training
    if run.role == "teacher":
        network, about = roles.teacher(params.teacher, data, own)
        network.to(device)
    elif run.what == PLAIN:
        network, about = roles.student(params.student, data, own, None)
        network.to(device)
    else:
        teacher = roles.load(searches.teacher(run), data)
        network, about = roles.student(params.student, data, own, teacher[0].to(device))
        objective = Distillation((network.to(device), about), teacher, params.distill, own)
    augmentation = NamedAugmentation(NONE if run.what == PLAIN else run.what)
    if schedule is not None:
        augmentation = NamedAugmentation(run.what, schedules.load(schedule))
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    began = clock()
    batches = Batches(data, "train", training.batch_size, own, normalize)
    at = applied(make_engine(params.augment, data, 1), augmentation.over(training.epochs))
    with tempfile.TemporaryDirectory() as state:
        fit(Training(network, objective, batches, at, training), Path(state) / "state")
    if run.role == "teacher" and run.seed == 0:
        save_weights(searches.teacher(Run(run.data, "student", run.what, "", 0)), network, about)
    images, labels = data.split("test")
    found = accuracy(predict(network, images, normalize), labels)
    seconds = round(clock() - began, 1)
    return {**asdict(run), "test": round(found, 5), "seconds": seconds}


def label(number: int, winner: str, teacher: str) -> str:
    """Return the name of a winner that is the same in two searches where the schedule is."""
    if winner == named.TEACHER_SCHEDULE:
        return teacher
    common = winner == NONE or winner.split("-")[0] in ladder.FAMILIES
    return winner if common else f"{winner}@{number}"


@click.command()
@click.argument("place")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--only", type=int, multiple=True, help="Search seeds; default: all.")
@click.option("--role", type=click.Choice(ROLES), help="No further than this one.")
@click.option("--workers", default=2, show_default=True, help="Trainings at a time.")
@click.option("--at-once", default=1, show_default=True, help="Searches that share the workers.")
@click.option("--show", is_flag=True, help="Only print the table of what is there.")
def main(
    place: str,
    file: Path,
    only: tuple[int, ...],
    role: str | None,
    workers: int,
    at_once: int,
    show: bool,
) -> None:
    """Search and train what is not in the files of rows yet, then print the table."""
    searches = Searches(file, place, yamlfiles.load(file))
    numbers = only or tuple(range(searches.content["searches"]))
    if not show:
        os.nice(10)
        for one in ROLES[: ROLES.index(role or ROLES[-1]) + 1]:
            _search_all(searches, numbers, one, at_once, max(1, workers // at_once))
            _train_all(searches, numbers, one, workers)
    sys.stdout.write(table(searches))


def _search_all(
    searches: Searches, numbers: tuple[int, ...], role: str, at_once: int, workers: int
) -> None:
    """Search one role's schedules that are not there yet, several at once."""
    spawn = multiprocessing.get_context("spawn")

    def one(number: int) -> int | None:
        learns = Run(searches.data_seed(number), "student", "", "", 0)
        if role == "student":
            learns = replace(learns, teacher=_winner(searches, number, "teacher"))
        process = spawn.Process(target=search, args=(searches, number, role, learns, workers))
        process.start()
        process.join()
        return process.exitcode

    wanted = [number for number in numbers if not _is_searched(searches, number, role)]
    with ThreadPoolExecutor(at_once) as pool:
        if any(list(pool.map(one, wanted))):
            sys.exit(1)


def _train_all(searches: Searches, numbers: tuple[int, ...], role: str, workers: int) -> None:
    """Train for all searches of a role what has no row yet, the first seeds first."""
    done = [_run(row) for row in _rows(searches, "trainings")]
    wanted: dict[Run, Path | None] = {}
    for number in numbers:
        winner = _winner(searches, number, role)
        for run in _wanted(searches, number, role):
            missed = run.what == winner and _is_missed(searches, number, run)
            if run not in done or missed:
                wanted[run] = _schedule(searches, number, run, winner)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        ordered = sorted(wanted, key=lambda run: run.seed)
        for task in as_completed(
            [pool.submit(train_one, searches, run, wanted[run]) for run in ordered]
        ):
            row = task.result()
            if _run({key: str(value) for key, value in row.items()}) not in done:
                append(searches.records("trainings"), row)


def _winner(searches: Searches, number: int, role: str) -> str:
    """Return the label of what won a search."""
    found = next(row for row in _rows(searches, "searches") if _is(row, number, role))
    teacher = _winner(searches, number, "teacher") if role == "student" else ""
    return label(number, found["winner"], teacher)


def _is_missed(searches: Searches, number: int, run: Run) -> bool:
    """Tell whether students are left that need a teacher whose row was made elsewhere."""
    weights = searches.teacher(Run(run.data, "student", run.what, "", 0))
    if (run.role, run.seed) != ("teacher", 0) or weights.exists():
        return False
    if not _is_searched(searches, number, "student"):
        return True
    done = {_run(row) for row in _rows(searches, "trainings")}
    return not done.issuperset(_wanted(searches, number, "student"))


def _is_searched(searches: Searches, number: int, role: str) -> bool:
    """Tell whether a search has its row and its schedule."""
    has_row = any(_is(row, number, role) for row in _rows(searches, "searches"))
    return has_row and searches.schedule(number, role).exists()


def _schedule(searches: Searches, number: int, run: Run, winner: str) -> Path | None:
    return searches.schedule(number, run.role) if run.what == winner != NONE else None


def _wanted(searches: Searches, number: int, role: str) -> Iterator[Run]:
    """Yield the trainings of a role in a search, seed by seed."""
    teacher = _winner(searches, number, "teacher") if role == "student" else ""
    beside = (searches.content.get("compare") or {}).get(role, [])
    for seed in range(searches.content["seeds"]):
        for what in dict.fromkeys([_winner(searches, number, role), NONE, *beside]):
            learns = "" if what == PLAIN else teacher
            yield Run(searches.data_seed(number), role, learns, what, seed)


def _rows(searches: Searches, kind: str) -> list[dict[str, str]]:
    file = searches.records(kind)
    return list(csv.DictReader(file.open())) if file.exists() else []


def _is(row: dict[str, str], number: int, role: str) -> bool:
    return (int(row["search"]), row["role"]) == (number, role)


def _run(row: dict[str, str]) -> Run:
    return Run(int(row["data"]), row["role"], row["teacher"], row["what"], int(row["seed"]))


def table(searches: Searches) -> str:
    """Return a row for each search and role: what won, and what it is worth on test images."""
    compare = searches.content.get("compare") or {}
    beside = list(dict.fromkeys(what for role in ROLES for what in compare.get(role, [])))
    test = {_run(row): 100 * float(row["test"]) for row in _rows(searches, "trainings")}
    head = ["search", "role", "winner", "best: gain in the final", "test %: none", "winner"]
    head += ["difference", *beside, "trainings", "seconds"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    worth: dict[str, dict[str, list[float]]] = {role: {} for role in ROLES}
    found = {(int(row["search"]), row["role"]): row for row in _rows(searches, "searches")}
    for (number, role), row in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        winner = _winner(searches, number, role)
        values: dict[str, list[float]] = {}
        for run in _wanted(searches, number, role):
            if run in test:
                values.setdefault(run.what, []).append(test[run])
        if len(values.get(NONE, [])) < searches.content["seeds"]:
            continue
        means = {what: statistics.fmean(found) for what, found in values.items()}
        pairs = [a - b for a, b in zip(values[winner], values[NONE], strict=True)]
        for what, mean in (means | {WINNER: means[winner]}).items():
            worth[role].setdefault(what, []).append(mean - means[NONE])
        cells = [
            str(number), role, winner,
            f"{row['best']}: {_told(row)}",
            _spread(values[NONE]), _spread(values[winner]),
            f"{statistics.fmean(pairs):+.2f} ± {statistics.stdev(pairs) / len(pairs) ** 0.5:.2f}",
            *(_spread(values[what]) if what in means else "" for what in beside),
            row["trainings"], f"{float(row['seconds']):.0f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    for role, gains in worth.items():
        if gains:
            count = len(gains[WINNER])
            said = ", ".join(
                f"{what} {statistics.fmean(gains[what]):+.2f}"
                for what in (WINNER, *beside)
                if what in gains
            )
            lines.append(
                f"\n{role}, mean of {count} searches over none: {said}; "
                f"worst winner {min(gains[WINNER]):+.2f}"
            )
    return "\n".join(lines) + "\n"


def _told(row: dict[str, str]) -> str:
    """Return the gain of a final as people read it."""
    scale = SCALES[row["measure"]]
    gain, error = float(row["gain"]), float(row["error"])
    return f"{scale.show(gain)} ± {scale.show(error, sign=False)} {scale.unit}"


def _spread(values: list[float]) -> str:
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"


if __name__ == "__main__":
    main()
