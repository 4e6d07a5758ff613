"""The Optuna side: a study is the record of a job, one trial for each task.

Optuna's own loop is not used: what is trained next is planned by pure functions, and a trial is
claimed by setting it to running, after a first heartbeat, so that a worker killed at any instant
leaves a trial whose silence others notice.

| state of a task | state of its trial |
|---|---|
| planned | WAITING, user attributes of `rolekd.fleet.attributes` |
| somebody works on it | RUNNING, heartbeats, a user attribute for each who tried to claim it |
| done | COMPLETE with its accuracy, or PRUNED if the loss became NaN; outcome; parameters |
| lost with its worker | FAIL; the task is planned again |
"""

import contextlib
import json
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rolekd import addresses
from rolekd.errors import InputError, RunError, one_line
from rolekd.fleet import database, jobs
from rolekd.fleet.attributes import (
    SIGNATURE,
    gain_attribute,
    outcome_attribute,
    read_result,
    read_task,
    read_workers,
    task_attributes,
)
from rolekd.fleet.jobs import Job, changed_keys
from rolekd.fleet.snapshot import Snapshot, State, Trial
from rolekd.fleet.tasks import Result, Task
from rolekd.processes import exclusive
from rolekd.secrets import redact

T = TypeVar("T")

# A worker that has missed this many heartbeats counts as dead.
_MISSED_BEATS = 6
# the last is what Python raises if SQLite's message names a damaged table
_ERRORS = (StorageInternalError, SQLAlchemyError, UnicodeDecodeError)
_DONE = {TrialState.COMPLETE.name, TrialState.PRUNED.name}
_ENDED = {state.name for state in TrialState if state.is_finished()}
_NOTE_PART = 2045  # characters of optuna-dashboard's attribute
# At the first connection, an address that does not answer soon counts as wrong.
_FIRST_PATIENCE = 1.0
_STATES = (
    "**States.** Complete: has its accuracy. Pruned: its loss became NaN; nothing else is pruned. "
    "Fail: was lost with its worker, and its work was planned again as another trial.\n\n"
)
_SECONDS_TO_OPEN = 60.0  # of another process that makes the tables of the same file


class JobStudy:
    """The record of one job. Every method can be repeated: after a lost connection it is."""

    def __init__(self, url: str, name: str, storage: RDBStorage) -> None:
        self.name = name
        self._url = url
        self._storage = storage
        self._study = self._patiently(lambda: optuna.load_study(study_name=name, storage=storage))
        attributes = self._patiently(lambda: self._study.user_attrs)
        if "spec" not in attributes:
            raise InputError(f"study {name}: holds no work of rolekd; name another study")
        with self._of_this_version():
            self.job = jobs.read(attributes["spec"])
        self.artifacts: str | None = attributes.get("artifacts")
        storage.heartbeat_interval = attributes["heartbeat_seconds"]
        self.grace_seconds = _MISSED_BEATS * attributes["heartbeat_seconds"]
        storage.grace_period = self.grace_seconds
        self._study_id = self._patiently(lambda: storage.get_study_id_from_name(name))
        # by number: the trials as last read, their states in the database, their ids there
        self._trials: dict[int, Trial] = {}
        self._states: dict[int, str] = {}
        self._ids: dict[int, int] = {}
        self._first = 0  # all before it have ended

    @classmethod
    def create(
        cls, url: str, job: Job, name: str, heartbeat_seconds: int, note: str = ""
    ) -> "JobStudy":
        """Open the study `name`, or make it; refuse one of another job.

        `note` is Markdown that optuna-dashboard shows with a new one, and lets people edit.
        """
        storage = _connect(url, create=True)
        study = _at_once(
            lambda: optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            ),
            url,
        )
        stored = _at_once(lambda: study.user_attrs, url).get("spec")
        if stored is None:
            _at_once(lambda: study.set_user_attr("heartbeat_seconds", heartbeat_seconds), url)
            _at_once(lambda: _name_objective(study, job.measures), url)
            _at_once(lambda: _write_note(storage, name, _STATES + note), url)
            _at_once(lambda: study.set_user_attr("spec", job.to_json()), url)
        elif found := changed_keys(stored, job.to_json()):
            raise InputError(
                f"study {name}: holds other work ({'; '.join(found)}); "
                "give the new one another name, or undo the change"
            )
        return cls(url, name, storage)

    @classmethod
    def open(cls, url: str, name: str, patience: float | None = _FIRST_PATIENCE) -> "JobStudy":
        """Open the study of a job that was started elsewhere.

        `patience` is for the first connection, in seconds; None: as for any later one.
        """
        storage = _connect(url, create=False, patience=patience)
        listed = partial(optuna.get_all_study_names, storage)
        names = database.patiently(listed, url, _ERRORS, patience)
        if name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise InputError(f"study {name}: not in this storage; it holds: {known}")
        return cls(url, name, storage)

    @property
    def engine(self) -> Engine:
        """The connections to the database."""
        return self._storage.engine

    def close(self) -> None:
        """Drop the connections; needed before a fork."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def publish(self, artifacts: str) -> None:
        """Note that the inputs are in the artifact store at this address."""
        self._patiently(partial(self._study.set_user_attr, "artifacts", artifacts))

    def read(self) -> Snapshot:
        """Read how far the job is."""
        self._patiently(self._read)
        return Snapshot(self.job, [self._trials[number] for number in sorted(self._trials)])

    def _read(self) -> None:
        """Bring the trials up to date; nothing is read of those that did not change."""
        moved: dict[int, tuple[int, str]] = {}
        for identity, number, state in database.trials(self.engine, self._study_id, self._first):
            self._ids[number] = identity
            known = self._trials.get(number)
            # who may have claimed a running one can change
            if known is None or self._states[number] != state or state == "RUNNING":
                moved[identity] = number, state
        found = database.attributes(self.engine, list(moved))
        for identity, (number, state) in moved.items():
            self._trials[number] = self._trial(number, TrialState[state], found[identity])
            self._states[number] = state
        while self._states.get(self._first) in _ENDED:
            self._first += 1

    def enqueue(self, tasks: Iterable[Task]) -> bool:
        """Put tasks into the queue; False, and nothing is added, if another worker was faster.

        Plan by what `read` returned last: the number of trials shows whether it is up to date.
        """
        rows = [task_attributes(self.job, task) for task in tasks]
        known = len(self._trials)
        return self._patiently(
            lambda: database.add_waiting(self.engine, self._study_id, known, rows)
        )

    def claim(self, trial: Trial, worker: str) -> bool:
        """Take a trial for `worker`; False if another was faster.

        A worker signs a trial before it takes it, and strikes its name out if it came too late. So
        whoever has a trial is among those that signed, at whatever instant it is killed.
        """

        def sign(valid: bool) -> None:
            self._storage.set_trial_user_attr(self._id(trial), SIGNATURE + worker, valid)

        def take() -> bool:
            sign(True)
            self._storage.record_heartbeat(self._id(trial))
            return self._storage.set_trial_state_values(self._id(trial), TrialState.RUNNING)

        with contextlib.suppress(UpdateFinishedTrialError):
            if self._patiently(take):
                return True
            self._patiently(partial(sign, False))
        return False

    @contextlib.contextmanager
    def beating(self, trial: Trial) -> Iterator[None]:
        """Record heartbeats of a claimed trial while the block runs."""
        done = threading.Event()
        thread = threading.Thread(target=self._beat, args=(self._id(trial), done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def finish(
        self,
        trial: Trial,
        result: Result[Any],
        device: str = "",
        parent: Result[Any] | None = None,
    ) -> bool:
        """Store the result of a claimed trial; False if it had been given to another.

        `device` is the name of what trained it, `parent` the result that it continued from.
        """
        values = None if result.accuracy is None else [result.accuracy]
        state = TrialState.PRUNED if result.accuracy is None else TrialState.COMPLETE
        # not before: every worker that looks for work would read the parameters; and not after:
        # an open dashboard does not read a trial again that has ended
        params, gain = self.job.trial_params(trial.task), gain_attribute(result, parent)
        self._patiently(
            lambda: database.set_params(self.engine, self._id(trial), list(params), gain)
        )
        return self._end(trial, state, values, outcome=outcome_attribute(result, device))

    def lose(self, trial: Trial, patience: float | None = None) -> bool:
        """Give a trial up, so that its task is planned again; False if it had ended before.

        `patience` is the number of seconds to wait for a database that does not answer.
        """
        return self._end(trial, TrialState.FAIL, patience=patience)

    def fail(self, reason: str | None) -> None:
        """Note why no worker can do the job; None: it is tried again."""
        self._patiently(partial(self._study.set_user_attr, "failure", reason))

    def failure(self) -> str | None:
        """Return what `fail` noted."""
        found = self._patiently(lambda: self._study.user_attrs).get("failure")
        return None if found is None else str(found)

    def lose_silent(self) -> None:
        """Give up every running trial whose worker no longer sends heartbeats."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._patiently(lambda: optuna.storages.fail_stale_trials(self._study))

    def _end(
        self,
        trial: Trial,
        state: TrialState,
        values: list[float] | None = None,
        outcome: dict[str, Any] | None = None,
        patience: float | None = None,
    ) -> bool:
        def end() -> bool:
            identity = self._id(trial)
            if outcome is not None:
                self._storage.set_trial_user_attr(identity, "outcome", outcome)
            return self._storage.set_trial_state_values(identity, state, values)

        try:
            return self._patiently(end, patience)
        except UpdateFinishedTrialError:
            # by another; or by us, and the answer was lost
            return outcome is not None and self._patiently(lambda: self._stands(trial, outcome))

    def _stands(self, trial: Trial, outcome: dict[str, Any]) -> bool:
        """Return whether a trial that has ended ended with this outcome."""
        found = database.attributes(self.engine, [self._id(trial)])[self._id(trial)]
        return found.get("outcome") == json.loads(json.dumps(outcome)) and any(
            number == trial.number and state in _DONE
            for _, number, state in database.trials(self.engine, self._study_id, trial.number)
        )

    def _id(self, trial: Trial) -> int:
        if trial.number not in self._ids:
            self._ids[trial.number] = self._patiently(
                lambda: self._storage.get_trial_id_from_study_id_trial_number(
                    self._study_id, trial.number
                )
            )
        return self._ids[trial.number]

    def _beat(self, trial_id: int, done: threading.Event) -> None:
        try:
            while not done.wait(self._storage.heartbeat_interval):
                self._patiently(lambda: self._storage.record_heartbeat(trial_id))
        except RunError:
            return  # the database is gone for good; the worker meets that, too, and reports it
        finally:
            self._storage.remove_session()

    def _trial(self, number: int, state: TrialState, attributes: dict[str, Any]) -> Trial:
        with self._of_this_version():
            task, workers = read_task(self.job, attributes), read_workers(attributes)
            if state in (TrialState.COMPLETE, TrialState.PRUNED):
                result = read_result(task, number, attributes)
                return Trial(number, task, State.DONE, workers, result)
        found = {TrialState.WAITING: State.WAITING, TrialState.RUNNING: State.RUNNING}
        return Trial(number, task, found.get(state, State.LOST), workers)

    @contextlib.contextmanager
    def _of_this_version(self) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError, KeyError) as error:  # pydantic's error is a ValueError
            raise InputError(
                f"study {self.name}: is of another version of rolekd; finish it with that one, or "
                "delete it (`optuna delete-study`)"
            ) from error

    def _patiently(self, action: Callable[[], T], patience: float | None = None) -> T:
        reset = self._storage.remove_session
        return database.patiently(action, self._url, _ERRORS, patience, reset)


def job_names(url: str) -> list[str]:
    """Return the names of the jobs in a storage, the oldest first."""
    storage = _connect(url, create=False)
    found = _at_once(lambda: optuna.get_all_study_summaries(storage), url)
    storage.engine.dispose()
    jobs_ = [study for study in found if "spec" in study.user_attrs]
    return [study.study_name for study in sorted(jobs_, key=lambda study: study._study_id)]


def each_open(url: str) -> Iterator[tuple["JobStudy | None", str]]:
    """Yield the jobs in a storage, the oldest first; None and a line for one of another version.

    One is open at a time: a database has few connections.
    """
    for name in job_names(url):
        try:
            study = JobStudy.open(url, name)
        except InputError as error:
            yield None, str(error)
            continue
        try:
            yield study, ""
        finally:
            study.close()


def delete(url: str, name: str) -> None:
    """Delete a study."""
    storage = _connect(url, create=False)
    _at_once(lambda: optuna.delete_study(study_name=name, storage=storage), url)
    storage.engine.dispose()


def _name_objective(study: optuna.Study, name: str) -> None:
    """Tell optuna-dashboard what the objective is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([name])


def _write_note(storage: RDBStorage, name: str, note: str) -> None:
    """Write a study's note as optuna-dashboard does, without its import, which takes a second."""
    study = storage.get_study_id_from_name(name)
    for start in range(0, len(note), _NOTE_PART):
        part = note[start : start + _NOTE_PART]
        key = f"dashboard:note_str:{start // _NOTE_PART}"
        storage.set_study_system_attr(study, key, part)
    storage.set_study_system_attr(study, "dashboard:note_ver", 1)


def _at_once(action: Callable[[], T], url: str) -> T:
    return database.patiently(action, url, _ERRORS, _FIRST_PATIENCE)


def _connect(url: str, create: bool, patience: float | None = _FIRST_PATIENCE) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _making(url, create), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # A heartbeat must be asked for here; `JobStudy` sets the study's own interval.
        make = partial(
            RDBStorage,
            url,
            engine_kwargs=database.engine_options(url),
            heartbeat_interval=1,
            skip_table_creation=not create,
        )
        try:
            storage = database.patiently(make, url, _ERRORS, patience)
        except RuntimeError as error:  # what Optuna raises for tables of another version
            if "table schema" not in str(error):
                raise
            remedy = "install the Optuna that made them"
            if "storage upgrade" in str(error):
                remedy = "keep a copy, then run `optuna storage upgrade --storage ADDRESS`"
            raise InputError(
                f"storage {redact(url, url)}: its tables are of another Optuna "
                f"({one_line(error, 100)}...); {remedy}"
            ) from error
        except ImportError as error:
            raise InputError(
                f"storage {redact(url, url)}: its driver is missing ({error}); install it"
            ) from error
        database.make_shareable(storage.engine)
    return storage


@contextlib.contextmanager
def _making(url: str, create: bool) -> Iterator[None]:
    """Keep others away while the tables are made: in SQLite that is not one transaction."""
    file = addresses.sqlite_file(url)
    if file is None:
        yield
        return
    if not create and not file.exists():
        raise InputError(f"storage {url}: no such file; name the storage of the search")
    with contextlib.ExitStack() as stack:
        lock = file.with_suffix(".lock")
        stack.enter_context(exclusive(lock, "the database", wait=_SECONDS_TO_OPEN))
        yield
