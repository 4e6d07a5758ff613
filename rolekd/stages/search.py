"""Stages search_teacher and search_student: the search of a role's schedule."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from rolekd import files
from rolekd.augment import schedule as schedules
from rolekd.augment.named import TEACHER_SCHEDULE, NamedAugmentation
from rolekd.augment.schedule import Schedule
from rolekd.data import dataset as datasets
from rolekd.data import fits
from rolekd.data.dataset import Dataset
from rolekd.display import clock, say
from rolekd.outputs import Lineage, SearchMetrics
from rolekd.params import Params, Role
from rolekd.report import histories, style
from rolekd.search import history, runner
from rolekd.search.history import Found
from rolekd.search.member import DATA, TEACHER_FILE, make_spec
from rolekd.search.observers import Observer
from rolekd.stages import checks, pace, storage
from rolekd.stages.budget import budget_of
from rolekd.stages.estimate import search_work
from rolekd.stages.stage import Stage
from rolekd.track.observers import SearchRuns
from rolekd.train.seats import Seat, seats

SEARCH_SPLITS = ("search_train", "search_val")
_SOON = 5_000_000  # pixels of images to train on: with fewer, timing takes as long as the search


def search(stage: Stage, role: Role, observers: Sequence[Observer] = ()) -> None:
    """Search the schedule of one role."""
    params = stage.params
    dataset = datasets.load(stage.outputs.data)
    checks.check(params, shape=dataset.shape)
    inputs = _inputs(stage, role)
    own = _teachers_own(stage) if role == "student" else None
    given = {} if own is None else {TEACHER_SCHEDULE: own.to_json()}
    taught = None if own is None else NamedAugmentation(TEACHER_SCHEDULE, own).to_json()
    spec = make_spec(params, role, inputs, given, taught)
    places = seats(params.machine, spec.threads, spec.tasks)
    say(f"search_{role}: {_budget(params, role, dataset, places[0])}")
    found = runner.run(
        spec,
        inputs,
        stage.state,
        [*observers, SearchRuns(stage.run, role)],
        seats=places,
        storage=storage.of_project(spec.name),
    )
    _write(stage, role, found)
    storage.forget(spec.name)
    stage.finish(_metrics(found), ends_of_curves=found.verdict is None)


def _budget(params: Params, role: Role, dataset: Dataset, seat: Seat) -> str:
    found = budget_of(params, role, dataset)
    parts = {
        f"{found.proposed:,} of {params.search.algorithm}": found.proposed,
        f"{found.confirmed:,} of the final": found.confirmed,
        f"{found.taught:,} of the students that judge": found.taught,
        f"{found.teachers:,} of their teachers": found.teachers,
    }
    named = ", ".join(part for part, images in parts.items() if images)
    told = f"at most {found.images:,} images to train on, {named}."
    if found.images * math.prod(dataset.image_size) < _SOON:
        return told
    work = search_work(params, role, dataset)
    per_image = pace.known_or_measured(work.works, params, dataset, seat)
    return told if per_image is None else f"{told} About {clock(work.seconds(per_image))} here."


def _teachers_own(stage: Stage) -> Schedule | None:
    """Return the schedule that was searched for the teacher, if any."""
    if not stage.outputs.was_searched("teacher"):
        return None
    return schedules.load(stage.outputs.schedule("teacher"))


def _metrics(found: Found) -> SearchMetrics:
    if found.verdict is None:
        return SearchMetrics(val_accuracy=found.line[-1].accuracy)
    winner, best = found.verdict.winner, found.verdict.best
    return SearchMetrics(
        winner=winner.name,
        val_accuracy=mean(winner.accuracies.values()),
        best=best.name,
        measure=best.measure,
        gain=best.gain,
        gain_error=best.error if math.isfinite(best.error) else None,
        seeds=len(best.differences),
    )


def _write(stage: Stage, role: Role, found: Found) -> None:
    outputs = stage.outputs
    found.schedule.save(outputs.schedule(role))
    files.write_csv(outputs.history(role), history.history_rows(found))
    files.write_csv(outputs.final(role), history.final(found))
    Lineage.model_validate(history.lineage(found)).save(outputs.lineage(role))
    tasks = histories.read_search(outputs.history(role))
    figure = histories.search_figure(tasks, f"Search of the {role}'s schedule")
    style.save(figure, outputs.population(role))
    for path in (outputs.schedule(role), outputs.lineage(role), outputs.population(role)):
        stage.run.log_artifact(path)


def _inputs(stage: Stage, role: Role) -> Path:
    """Make the folder of inputs: no test images, no images outside the search's splits."""
    folder = stage.state / "inputs"
    shutil.rmtree(folder, ignore_errors=True)
    dataset = datasets.load(stage.outputs.data)
    fits.check(stage.params, dataset.image_size, dataset.sizes)
    for split in SEARCH_SPLITS:
        stage.log_split(dataset, split)
    datasets.save_splits(dataset, SEARCH_SPLITS, folder / DATA)
    stage.outputs.copy_pretrained(stage.params, stage.params.trained_by_search(role), folder)
    if role == "student":
        shutil.copy(stage.outputs.teacher("searched"), folder / TEACHER_FILE)
    return folder
