"""The Optuna side: a study is the ledger of a search, one trial for each slot.

Optuna's samplers and `study.optimize` are not used: what is trained next is planned in
`population`, and a trial is claimed by setting it to running, a heartbeat written before, so that
a worker killed at any instant leaves a trial whose age others can tell.

| state of a slot | state of its trial |
|---|---|
| planned | WAITING, user attributes generation, member, parent, policy, epochs |
| somebody works on it | RUNNING, user attribute worker, heartbeats |
| done | COMPLETE with its accuracy, or PRUNED if the loss became NaN; attribute outcome |
| lost with its worker | FAIL; the slot is planned again |
| planned twice | PRUNED, without an outcome |
"""

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from rolekd.errors import InputError, RunError
from rolekd.search import database
from rolekd.search.addresses import redact
from rolekd.search.artifacts import Artifacts
from rolekd.search.board import Board, Entry, State
from rolekd.search.population import Result, Slot, Task
from rolekd.search.spec import SearchSpec, differences

T = TypeVar("T")

# A worker that has not been heard of for this many heartbeats is taken for dead.
_MISSED_BEATS = 6
_ERRORS = (StorageInternalError, SQLAlchemyError)


class Ledger:
    """The record of one search. Every method may be repeated: a lost connection is tried again."""

    def __init__(self, url: str, name: str, storage: RDBStorage) -> None:
        self._url = url
        self._name = name
        self._storage = storage
        self._study = self._patiently(lambda: optuna.load_study(study_name=name, storage=storage))
        attributes = self._patiently(lambda: self._study.user_attrs)
        if "spec" not in attributes:
            raise InputError(f"study {name}: holds no search of rolekd; name another study")
        self.spec = SearchSpec.from_json(attributes["spec"])
        self.published: bool = attributes.get("published", False)
        storage.heartbeat_interval = attributes["heartbeat_seconds"]
        storage.grace_period = _MISSED_BEATS * attributes["heartbeat_seconds"]
        self._study_id = self._patiently(lambda: storage.get_study_id_from_name(name))
        self._settled: dict[int, Entry] = {}
        self._ids: dict[int, int] = {}

    @classmethod
    def create(cls, url: str, spec: SearchSpec, name: str, heartbeat_seconds: int) -> "Ledger":
        """Open the study `name`, made if it is not there; refuse one of another search."""
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
            _at_once(lambda: study.set_user_attr("spec", spec.to_json()), url)
        elif found := differences(stored, spec.to_json()):
            raise InputError(
                f"study {name}: holds another search ({'; '.join(found)}); "
                "give the new one another name, or undo the change"
            )
        return cls(url, name, storage)

    @classmethod
    def open(cls, url: str, name: str) -> "Ledger":
        """Open the study of a search that was started elsewhere."""
        if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
            raise InputError(f"storage {url}: no such file; name the search's own storage")
        storage = _connect(url, create=False)
        names = _at_once(lambda: optuna.get_all_study_names(storage), url)
        if name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise InputError(f"study {name}: not in this storage; it holds: {known}")
        return cls(url, name, storage)

    def close(self) -> None:
        """Drop the connections; needed before a fork."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def mark_published(self) -> None:
        """Note that the inputs are in the artifact store."""
        self._patiently(
            lambda: self._storage.set_study_user_attr(self._study_id, "published", True)
        )

    def read(self) -> Board:
        """Read where the search stands."""
        trials = self._patiently(lambda: self._study.get_trials(deepcopy=False))
        entries = [self._settled.get(trial.number) or self._entry(trial) for trial in trials]
        return Board(self.spec.settings, self.spec.seed, entries)

    def enqueue(self, tasks: Iterable[Task]) -> None:
        """Put tasks into the queue."""
        for task in tasks:
            trial = optuna.trial.create_trial(
                state=TrialState.WAITING,
                user_attrs={
                    "generation": task.slot.generation,
                    "member": task.slot.member,
                    "parent": task.parent and [task.parent.generation, task.parent.member],
                    "policy": list(task.policy),
                    "epochs": [task.start_epoch, task.start_epoch + task.epochs],
                },
            )
            self._patiently(partial(self._study.add_trial, trial))

    def claim(self, entry: Entry, worker: str) -> bool:
        """Take an entry for `worker`; False where another was faster."""

        def take() -> bool:
            number = self._id(entry)
            self._storage.record_heartbeat(number)
            return self._storage.set_trial_state_values(number, TrialState.RUNNING)

        with contextlib.suppress(UpdateFinishedTrialError):
            if self._patiently(take):
                self._set(entry, "worker", worker)
                return True
        return False

    @contextlib.contextmanager
    def beating(self, entry: Entry) -> Iterator[None]:
        """Record heartbeats of a claimed entry while the block runs."""
        done = threading.Event()
        thread = threading.Thread(target=self._beat, args=(self._id(entry), done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def finish(self, entry: Entry, result: Result) -> bool:
        """Enter the result of a claimed entry; False where it had been given to another."""
        outcome = {
            "accuracy": result.accuracy,
            "images_seen": result.images_seen,
            "seconds": round(result.seconds, 3),
            "state": result.state,
            "extras": dict(result.extras),
        }
        state = TrialState.PRUNED if result.accuracy is None else TrialState.COMPLETE
        values = None if result.accuracy is None else [result.accuracy]
        return self._end(entry, state, values, outcome)

    def lose(self, entry: Entry, patience: float | None = None) -> bool:
        """Give an entry up, so that its slot is planned again; False where it was ended before.

        `patience` is the number of seconds to wait for a database that does not answer.
        """
        return self._end(entry, TrialState.FAIL, patience=patience)

    def drop(self, entry: Entry) -> bool:
        """Prune a duplicate."""
        return self._end(entry, TrialState.PRUNED)

    def lose_silent(self) -> None:
        """Give up every running entry whose worker sends no heartbeats any more."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._patiently(lambda: optuna.storages.fail_stale_trials(self._study))

    def _end(
        self,
        entry: Entry,
        state: TrialState,
        values: list[float] | None = None,
        outcome: dict[str, Any] | None = None,
        patience: float | None = None,
    ) -> bool:
        def end() -> bool:
            number = self._id(entry)
            if outcome is not None:
                self._storage.set_trial_user_attr(number, "outcome", outcome)
            return self._storage.set_trial_state_values(number, state, values)

        try:
            return self._patiently(end, patience)
        except UpdateFinishedTrialError:
            return False

    def _set(self, entry: Entry, key: str, value: Any) -> None:
        with contextlib.suppress(UpdateFinishedTrialError):
            self._patiently(lambda: self._storage.set_trial_user_attr(self._id(entry), key, value))

    def _id(self, entry: Entry) -> int:
        if entry.number not in self._ids:
            self._ids[entry.number] = self._patiently(
                lambda: self._storage.get_trial_id_from_study_id_trial_number(
                    self._study_id, entry.number
                )
            )
        return self._ids[entry.number]

    def _beat(self, trial_id: int, done: threading.Event) -> None:
        try:
            while not done.wait(self._storage.heartbeat_interval):
                self._patiently(lambda: self._storage.record_heartbeat(trial_id))
        except RunError:
            return  # the database is gone for good; the worker itself will meet that and say so
        finally:
            self._storage.remove_session()

    def _entry(self, trial: FrozenTrial) -> Entry:
        entry = _as_entry(trial)
        if trial.state.is_finished():
            self._settled[trial.number] = entry
        return entry

    def _patiently(self, action: Callable[[], T], patience: float | None = None) -> T:
        return database.patiently(action, self._url, _ERRORS, patience)


def _at_once(action: Callable[[], T], url: str) -> T:
    """Where a connection is made first, an address that does not answer is taken for wrong."""
    return database.patiently(action, url, _ERRORS, patience=1.0)


def _connect(url: str, create: bool) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            # A heartbeat must be asked for here; the ledger sets the study's own interval.
            make = partial(RDBStorage, url, heartbeat_interval=1, skip_table_creation=not create)
            storage = _at_once(make, url)
    except ImportError as error:
        raise InputError(
            f"storage {redact(url, url)}: its driver is not installed ({error}); install it"
        ) from error
    database.share(storage.engine)
    return storage


def open_artifacts(address: str, study: str) -> Artifacts:
    """Open the artifact store at `address`: s3://BUCKET/PREFIX, or a folder, made if need be."""
    missing = optuna.artifacts.exceptions.ArtifactNotFound
    if not address.startswith("s3://"):
        folder = Path(address)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"artifact store {address}: cannot be made ({error.strerror}); "
                "name a writable folder or s3://BUCKET/PREFIX"
            ) from error
        store = optuna.artifacts.FileSystemArtifactStore(folder)
        return Artifacts(store, study, address, (OSError,), missing)
    import boto3
    import boto3.exceptions
    import botocore.exceptions

    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    errors = (
        OSError,
        boto3.exceptions.Boto3Error,
        botocore.exceptions.BotoCoreError,
        botocore.exceptions.ClientError,
    )
    begin = "/".join(filter(None, [prefix.strip("/"), study]))
    return Artifacts(optuna.artifacts.Boto3ArtifactStore(bucket), begin, address, errors, missing)


def _as_entry(trial: FrozenTrial) -> Entry:
    attributes = trial.user_attrs
    start, stop = attributes["epochs"]
    task = Task(
        slot=Slot(attributes["generation"], attributes["member"]),
        parent=Slot(*attributes["parent"]) if attributes["parent"] else None,
        policy=tuple(attributes["policy"]),
        start_epoch=start,
        epochs=stop - start,
    )
    outcome = attributes.get("outcome")
    done = outcome is not None and trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    state = {
        TrialState.WAITING: State.WAITING,
        TrialState.RUNNING: State.RUNNING,
        TrialState.FAIL: State.LOST,
    }.get(trial.state, State.DONE if done else State.DUPLICATE)
    result = Result(task, trial.number, **outcome) if outcome is not None and done else None
    return Entry(trial.number, task, state, attributes.get("worker"), result)
