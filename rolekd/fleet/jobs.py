"""What is shared out among workers: one protocol, and the kinds of work that implement it.

A job is all that a worker on another machine gets: everything that decides its result is in its
JSON, and its inputs are files with their SHA-256. A new kind is a row of `_KINDS`.
"""

import importlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from rolekd import code, files
from rolekd.errors import InputError
from rolekd.fleet.tasks import Outcome, Slot, Task

# libraries whose version can change numbers
_LIBRARIES = ("torch", "numpy", "numba", "optuna")
# kind -> where its class is; imported when a job is read, since these modules import the fleet
_KINDS = {
    "search": ("rolekd.search.spec", "SearchSpec"),
    "students": ("rolekd.stages.students", "Students"),
    "trainings": ("rolekd.evidence.trainings", "Trainings"),
}


class Trainer(Protocol):
    """Trains tasks; a pure function of its arguments and of what it was made of."""

    def train(self, task: Any, state: Path | None, out: Path) -> Outcome:
        """Train one task.

        Args:
            task: What to train; of the job's own kind.
            state: What the parent's training left, not to be changed; None: it has no parent.
            out: File for what others need of this training: its state, or its weights.
        """
        ...


# the complete generations -> the tasks of the next; empty if the job is done; a pure function
Planner = Callable[[Sequence[Sequence[Any]]], Sequence[Task]]


class Job(Protocol):
    """A piece of work, made of tasks."""

    kind: ClassVar[str]  # its row in `_KINDS`

    @property
    def inputs(self) -> Mapping[str, str]:
        """Path of each input file, relative to the folder of inputs -> its SHA-256."""
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Name of a library, of Python, or "rolekd code" -> its version."""
        ...

    @property
    def threads(self) -> int:
        """Threads of each worker."""
        ...

    @property
    def name(self) -> str:
        """Name of the study: what it is, and the first digits of its fingerprint."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the job as JSON-able values, `kind` among them."""
        ...

    @property
    def device(self) -> str:
        """What it trains on, cpu or cuda: their sums differ, so no job mixes them."""
        ...

    @property
    def measures(self) -> str:
        """What the accuracy of a task is measured on."""
        ...

    @property
    def tasks(self) -> int:
        """The largest number of tasks."""
        ...

    def describe(self, task: Any) -> str:
        """Return what describes a task to people beside its slot; empty if the slot says it all."""
        ...

    def make_planner(self) -> Planner:
        """Make its planner; every worker makes the same."""
        ...

    def finished(self, history: Sequence[Sequence[Any]]) -> bool:
        """Return whether no task follows those of the complete generations."""
        ...

    def preload(self) -> None:
        """Import what its trainers need, before workers are forked."""
        ...

    def make_trainer(self, inputs: Path, keep: Path) -> Trainer:
        """Make a trainer.

        Args:
            inputs: Folder of the input files.
            keep: Folder that outlives this worker, for what a task can continue from after a kill.
        """
        ...

    def write_task(self, task: Any) -> dict[str, Any]:
        """Return the user attributes, beside those of every task, that a trial is queued with."""
        ...

    def read_task(self, task: Task, attributes: Mapping[str, Any]) -> Task:
        """Return a task of this kind from what `write_task` returned."""
        ...

    def trial_params(self, task: Any) -> Iterable[tuple[str, float, str]]:
        """Yield name, value and distribution (JSON) of a trial's parameters, for Optuna's plots."""
        ...


class OneGeneration:
    """A job whose tasks do not wait for each other: a mixin for a frozen dataclass.

    The dataclass has fields that JSON can hold, `kind`, `tasks`, and whatever else a `Job` has.
    """

    kind: ClassVar[str]

    @property
    def tasks(self) -> int:
        """See `Job`."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Make a job of what `to_json` returned."""
        return cls(**{each.name: value[each.name] for each in fields(cls)})  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """See `Job`."""
        return {"kind": self.kind, **vars(self)}

    def make_planner(self) -> Planner:
        """See `Job`."""
        tasks = [Task(Slot(0, member), None, self.tasks) for member in range(self.tasks)]
        return lambda history: [] if history else tasks

    def finished(self, history: Sequence[Sequence[Any]]) -> bool:
        """See `Job`."""
        return bool(history)

    def read_task(self, task: Task, attributes: Mapping[str, Any]) -> Task:
        """See `Job`: the slot says it all."""
        del attributes
        return task

    def trial_params(self, task: Any) -> Iterable[tuple[str, float, str]]:
        """See `Job`."""
        del task
        return ()


def read(value: Mapping[str, Any]) -> Job:
    """Make a job of what `to_json` returned.

    Raises:
        TypeError, ValueError, KeyError: It is of another version of rolekd.
    """
    module, name = _KINDS[value["kind"]]
    job: Job = getattr(importlib.import_module(module), name).from_json(value)
    return job


def hash_inputs(folder: Path) -> dict[str, str]:
    """Return the relative path -> SHA-256 of every file in a folder of inputs."""
    return {
        file.relative_to(folder).as_posix(): files.sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def installed_versions() -> dict[str, str]:
    """Return what must be the same on every machine that works on a job."""
    found = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    found["python"] = ".".join(platform.python_version_tuple()[:2])
    found["rolekd code"] = code.version()
    return found


def refuse_other_versions(job: Job) -> None:
    """Refuse a job whose libraries or code are not the ones installed here."""
    if found := changed_keys(job.versions, installed_versions()):
        raise InputError(
            f"this worker is not like the others ({'; '.join(found)}); install the same versions "
            "here"
        )


def refuse_other_device(job: Job, there: bool) -> None:
    """Refuse a job that trains on GPUs, unless one is `there`."""
    if job.device != "cpu" and not there:
        raise InputError(
            f"trains on GPUs ({job.device}), and PyTorch finds none here; work on it from a "
            "machine with one"
        )


def changed_keys(stored: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Name every leaf in which two JSON objects differ, as "key.key: theirs there, ours here"."""
    there, here = _leaves(stored), _leaves(ours)
    return [
        f"{key}: {there.get(key, 'absent')} there, {here.get(key, 'absent')} here"
        for key in sorted({*there, *here})
        if there.get(key, _ABSENT) != here.get(key, _ABSENT)
    ]


_ABSENT = object()


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: list(value) if isinstance(value, tuple) else value}
    leaves: dict[str, Any] = {}
    for key, item in value.items():
        leaves |= _leaves(item, f"{prefix}.{key}" if prefix else str(key))
    return leaves
