"""A study from its file to its records: searches, teachers, students, data set by data set.

Nothing on record is done again. Killed at any instant and started again, with any number of workers
here and elsewhere, a study continues, and its rows are the same.
"""

import shutil
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol, get_args

from rolekd import code, files
from rolekd.augment.schedule import Schedule
from rolekd.data import dataset as datasets
from rolekd.data import fits
from rolekd.data.dataset import Dataset
from rolekd.errors import HopelessError, InputError, did_you_mean
from rolekd.evidence.cells import FaultError, Plan, Search, WaitsError
from rolekd.evidence.design import Cell
from rolekd.evidence.keys import as_recorded
from rolekd.evidence.records import Records, Searched
from rolekd.evidence.trainings import TEACHERS, Trainings, TrainingSpec, take
from rolekd.fleet import runner
from rolekd.fleet.artifacts import Artifacts, absolute_address, open_artifacts
from rolekd.fleet.snapshot import Snapshot, State, Watch
from rolekd.params import MachineParams, Params, Role
from rolekd.processes import exclusive
from rolekd.search import member
from rolekd.search import runner as searching
from rolekd.search.observers import Observer
from rolekd.sources.prepare import prepare
from rolekd.stages import checks, storage
from rolekd.track import store
from rolekd.train import devices, pretrained
from rolekd.train.seats import Seat, seats

_SEARCHED = ("search_train", "search_val")
_TRAINED = ("train", "test")
_ROLES = get_args(Role)
# sections of params.yaml that a study records of a data set
_SECTIONS = ("seed", "threads", "data", "augment", "search", "teacher", "student", "distill")
# an arm cannot change these: networks of a role begin alike, and a study trains its teachers
_FIXED = ("teacher.weights", "student.weights", "teacher.train")


class Shows(Protocol):
    """Shows people what a study does."""

    def search(self, title: str) -> AbstractContextManager[Observer]:
        """Show a search."""
        ...

    def trainings(self, title: str) -> AbstractContextManager[Watch]:
        """Show trainings."""
        ...


def run(
    records: Records,
    machine: MachineParams,
    shows: Shows,
    data: Collection[str] = (),
    arms: Collection[str] = (),
    *,
    fresh: bool = False,
) -> None:
    """Do all cells of a study that are not on record.

    Args:
        records: Of the study.
        machine: What it uses of this machine.
        shows: Shows people what it does.
        data: Names of data sets; none: all.
        arms: Names of arms; none: all.
        fresh: This process has computed already: fork no worker.

    Raises:
        InputError: Data or parameters are not usable.
        RunError: The machine failed: memory, disk, database. Started again, the study continues.
    """
    state = store.project_root() / ".rolekd" / "studies" / records.folder.name
    state.mkdir(parents=True, exist_ok=True)
    known: dict[str, tuple[Collection[str], Collection[str]]] = {
        "--data": (data, records.study.data),
        "--arm": (arms, records.study.arms),
    }
    for option, (names, all_names) in known.items():
        for name in names:
            if name not in all_names:
                raise InputError(f"{option} {name}: {did_you_mean(name, all_names)}")
    with exclusive(state / "lock", f"study {records.study.name}"):
        fleet = _Fleet(machine, devices.gpus(), fresh)
        # all are read and checked before the first is trained on
        parts = [
            _OfData(records, name, arms, state / name.replace("/", "-"), fleet, shows)
            for name in data or records.study.data
            if _missing(records, name, arms)
        ]
        for part in parts:
            part.do()
    if not records.missing():
        shutil.rmtree(state, ignore_errors=True)


def _missing(records: Records, data: str, arms: Collection[str]) -> list[Cell]:
    """Return the cells of a data set and of these arms, or all, that are not done."""
    return [
        cell for cell in records.missing() if cell.data == data and (not arms or cell.arm in arms)
    ]


class _Fleet:
    """The workers of this machine, job after job.

    Args:
        machine: Device and number of workers.
        gpus: Of this machine, asked before this process took a seat.
        fresh: This process has computed already.
    """

    def __init__(self, machine: MachineParams, gpus: Sequence[str], fresh: bool) -> None:
        self.machine, self._gpus = machine, gpus
        self._fresh = fresh

    def seats(self, threads: int, tasks: int) -> list[Seat]:
        """Return the seats for a job."""
        return seats(self.machine, threads, tasks, self._gpus)

    @property
    def fresh(self) -> bool:
        """Whether this process has computed already; asked once for each job."""
        before, self._fresh = self._fresh, True
        return before


class _OfData:
    """Works through the cells of one data set.

    Each round looks at what is missing and first does what others wait for: searches of teachers,
    teachers, searches of students, students.
    """

    def __init__(
        self,
        records: Records,
        data: str,
        arms: Collection[str],
        state: Path,
        fleet: _Fleet,
        shows: Shows,
    ) -> None:
        self._records, self._data, self._arms, self._state = records, data, arms, state
        self._fleet, self._shows = fleet, shows
        self._params = records.study.params_of(data)
        self._dataset = self._prepared()
        records.settle(
            data,
            as_recorded(self._params.model_dump(mode="json", include={*_SECTIONS})),
            self._dataset.digest,
        )
        self._plan = Plan(
            records.study, data, self._dataset.digest, self._begun_with(), self._found
        )
        self._faults: dict[str, str] = {}  # training -> why it failed

    def do(self) -> None:
        """Do what is missing."""
        while self._round():
            pass

    def _round(self) -> bool:
        """Do what the missing cells wait for first; False if no cell is missing."""
        searches: dict[str, tuple[Search, str]] = {}  # with the arm that asks for it
        teachers: dict[str, TrainingSpec] = {}
        ready: dict[str, TrainingSpec] = {}
        faults: list[tuple[Cell, str]] = []
        cells = _missing(self._records, self._data, self._arms)
        for cell in cells:
            try:
                training = self._plan.training(cell)
                if self._records.share([cell], training.key):
                    continue
                if training.teacher and not self._weights(training.teacher).exists():
                    teacher = self._plan.teacher(cell)
                    self._refuse_fault(teacher)
                    teachers[teacher.key] = teacher
                elif training.role == "teacher":
                    teachers[training.key] = training
                else:
                    ready[training.key] = training
            except WaitsError as waits:
                search = waits.search
                if search.teacher and not self._weights(search.teacher.key).exists():
                    if search.teacher.key in self._faults:
                        faults.append((cell, self._faults[search.teacher.key]))
                        continue
                    teachers[search.teacher.key] = search.teacher
                else:
                    searches.setdefault(search.key, (search, cell.arm))
            except FaultError as error:
                faults.append((cell, str(error)))
        for cell, reason in faults:
            self._records.add_fault(cell, reason)
        if first := [one for one in searches.values() if one[0].role == "teacher"]:
            self._search(*first[0])
        elif teachers:
            self._train("teachers", teachers.values(), cells)
        elif searches:
            self._search(*next(iter(searches.values())))
        elif ready:
            self._train("students", ready.values(), cells)
        return bool(cells)

    def _weights(self, key: str) -> Path:
        """The file of a teacher's weights."""
        return self._state / TEACHERS / f"{key}.safetensors"

    def _refuse_fault(self, training: TrainingSpec) -> None:
        if training.key in self._faults:
            raise FaultError(self._faults[training.key])

    def _found(self, search: Search) -> Schedule:
        done = self._records.searches.get(search.key)
        if done is None:
            raise WaitsError(search)
        if done.fault:
            raise FaultError(f"its search failed: {done.fault}")
        return self._records.schedule(search.key)

    def _prepared(self) -> Dataset:
        """Read the data set, or take it from where an earlier call left it."""
        values = self._params
        facts = {"seed": values.seed, "data": values.data.model_dump(mode="json")}
        folder = self._state / f"{member.DATA}-{files.digest(facts)[:12]}"
        if not folder.exists():
            datasets.save(prepare(values.data, values.seed), folder)
        dataset = datasets.load(folder)
        self._check(dataset)
        return dataset

    def _check(self, dataset: Dataset) -> None:
        """Refuse parameters of an arm that name something unknown or do not fit the images."""
        study, checked = self._records.study, list[Params]()
        for name, arm in study.arms.items():
            params = study.params_of(self._data, arm) if arm.params else self._params
            if not study.takes(self._data, name) or params in checked:
                continue
            checked.append(params)
            for key in _FIXED:
                if key in arm.params:
                    raise InputError(
                        f"study {study.name}: arms.{name}: params: {key} is the same for all arms "
                        "of a data set; set it there"
                    )
            if not params.teacher.train:
                raise InputError(
                    f"study {study.name}: data.{self._data}: teacher.train is false, but a study "
                    "trains its teachers; set it to true"
                )
            try:
                checks.check(params, shape=dataset.shape, deployed=False)
                fits.check(params, dataset.image_size, dataset.sizes)
            except InputError as error:
                raise InputError(f"study {study.name}: arms.{name}: {error}") from error

    def _begun_with(self) -> dict[Role, str]:
        """Return role -> SHA-256 of the weights that its networks begin with, if any."""
        folder = self._state / "begun"
        folder.mkdir(exist_ok=True)
        place = replace(self._dataset, folder=folder / member.DATA)
        pretrained.lay_beside(self._params, _ROLES, place)
        return {
            role: files.sha256(path)
            for role in _ROLES
            if (path := pretrained.beside(place, role)).exists()
        }

    def _inputs(self, splits: tuple[str, ...], roles: Iterable[Role]) -> Path:
        """Make the folder of inputs of a job, with the data set in it."""
        folder = self._state / "inputs"
        shutil.rmtree(folder, ignore_errors=True)
        datasets.save_splits(self._dataset, splits, folder / member.DATA)
        place = replace(self._dataset, folder=folder / member.DATA)
        pretrained.lay_beside(self._params, roles, place)
        return folder

    def _search(self, search: Search, arm: str) -> None:
        """Do a search, and record what it found."""
        inputs = self._inputs(_SEARCHED, search.params.trained_by_search(search.role))
        if search.teacher is not None:
            shutil.copy(self._weights(search.teacher.key), inputs / member.TEACHER_FILE)
        params = self._on_machine(search.params)
        spec = member.make_spec(params, search.role, inputs, search.given, search.taught)
        about = Searched(search.key, self._data, search.role, search.taught_by, search.number, arm)
        title = f"{self._data}, search {search.number} of the {search.role}'s schedule"
        began = time.monotonic()
        try:
            with self._shows.search(title) as observer:
                found = searching.run(
                    spec,
                    inputs,
                    self._state / "search",
                    [observer],
                    seats=self._fleet.seats(spec.threads, spec.tasks),
                    storage=storage.of_project(spec.name),
                    fresh=self._fleet.fresh,
                )
        except HopelessError as error:
            self._records.add_search(about.failed(str(error)), None)
        else:
            seconds = time.monotonic() - began
            self._records.add_search(about.found(found, seconds), found.schedule)
        storage.forget(spec.name)
        shutil.rmtree(self._state / "search", ignore_errors=True)

    def _train(self, what: str, trainings: Iterable[TrainingSpec], cells: Sequence[Cell]) -> None:
        """Do trainings, and record them as they come."""
        wanted = list(trainings)
        planned = self._planned(what, wanted)
        of: dict[str, list[Cell]] = {}
        for cell in cells:
            try:
                of.setdefault(self._plan.training(cell).key, []).append(cell)
            except (WaitsError, FaultError):
                continue
        inputs, job = self._job(planned)
        if planned != wanted and [job.name, str(storage.of_project("").url)] != self._former(what):
            # the former job is of other code, libraries or storage: do only what is missing now
            planned = wanted
            inputs, job = self._job(planned)
        collect = _Collecting(
            job, self._state / "left", lambda one, file: self._take(one, file, of)
        )
        files.write_json(
            self._plan_file(what),
            {
                "job": [job.name, str(storage.of_project("").url)],
                "trainings": [one.to_json() for one in planned],
            },
        )
        with self._shows.trainings(f"{self._data}, {what}") as watch:

            def tell(snapshot: Snapshot) -> None:
                watch(snapshot)
                collect(snapshot)

            runner.run(
                job,
                inputs,
                self._state / "trainings",
                lambda: tell,
                seats=self._fleet.seats(job.threads, job.tasks),
                storage=collect.storage,
                fetch=collect.rest,
                fresh=self._fleet.fresh,
            )
        storage.forget(job.name)
        shutil.rmtree(self._state / "trainings", ignore_errors=True)
        self._plan_file(what).unlink(missing_ok=True)

    def _planned(self, what: str, trainings: list[TrainingSpec]) -> list[TrainingSpec]:
        """Return the trainings of an interrupted call, if these are what is left of them.

        The job is then the same, and its trainings continue where they were.
        """
        path = self._plan_file(what)
        if not path.exists():
            return trainings
        former = [TrainingSpec(**row) for row in files.read_json(path)["trainings"]]
        left = {one.key for one in trainings}
        teachers = all(not one.teacher or self._weights(one.teacher).exists() for one in former)
        return former if teachers and left <= {one.key for one in former} else trainings

    def _former(self, what: str) -> list[str]:
        """Return name and storage of the job of an interrupted call."""
        found: list[str] = files.read_json(self._plan_file(what))["job"]
        return found

    def _job(self, planned: list[TrainingSpec]) -> tuple[Path, Trainings]:
        """Return the folder of inputs and the job of these trainings."""
        inputs = self._inputs(_TRAINED, {training.role for training in planned})
        (inputs / TEACHERS).mkdir()
        for key in dict.fromkeys(one.teacher for one in planned if one.teacher):
            shutil.copy(self._weights(key), inputs / TEACHERS)
        params = self._on_machine(self._params)
        study = self._records.study
        return inputs, Trainings.of(
            study.name, self._data, planned, params, inputs, corruptions=study.corruptions
        )

    def _plan_file(self, what: str) -> Path:
        return self._state / f"{what}.json"

    def _take(self, training: TrainingSpec, left: Path, of: dict[str, list[Cell]]) -> None:
        weights = self._weights(training.key) if training.role == "teacher" else None
        if weights is not None:
            weights.parent.mkdir(exist_ok=True)
        measured = take(left, weights)
        if measured.fault:
            self._faults[training.key] = f"its teacher failed: {measured.fault}"
        if cells := [cell for cell in of.get(training.key, []) if cell not in self._records.rows]:
            own = {"params": files.digest(training.params)[:12], "code": code.version()}
            self._records.add(cells, training, measured, own)

    def _on_machine(self, params: Params) -> Params:
        # decided here: a worker whose GPU has gone must not continue with the CPU
        device = devices.resolve(self._fleet.machine.device).type
        machine = self._fleet.machine.model_copy(update={"device": device})
        return params.model_copy(update={"machine": machine})


class _Collecting:
    """Takes what the trainings of a job have left, as they come.

    Args:
        job: The job.
        file: Temporary, for one training at a time.
        take: Called once for each training, with the file.
    """

    def __init__(
        self, job: Trainings, file: Path, take: Callable[[TrainingSpec, Path], None]
    ) -> None:
        self.storage = storage.of_project(job.name)
        self._job, self._file, self._take = job, file, take
        self._taken: set[int] = set()
        self._store: Artifacts | None = None

    def __call__(self, snapshot: Snapshot) -> None:
        """Take what is new in a snapshot of the study."""
        if self._store is None:
            address = absolute_address(str(self.storage.artifacts))
            self._store = open_artifacts(address, self._job.name)
        for trial in snapshot.holders.values():
            if trial.state is State.DONE and trial.number not in self._taken:
                self._taken.add(trial.number)
                assert trial.result is not None and trial.result.state is not None
                slot, checksum = trial.task.slot, trial.result.state
                self._file.unlink(missing_ok=True)
                self._store.get_state(slot, trial.number, checksum, self._file)
                self._take(self._job.training(trial.task), self._file)

    def rest(self, snapshot: Snapshot, store: Artifacts) -> None:
        """Take what is left, at the end."""
        self._store = store
        self(snapshot)
