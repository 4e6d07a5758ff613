"""What a search is: everything that decides its result, as JSON, and the fingerprint of that."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from rolekd import files
from rolekd.fleet.jobs import Planner, Trainer
from rolekd.fleet.tasks import Task
from rolekd.params import SearchParams
from rolekd.search import phases
from rolekd.search.population import Generation


@dataclass(frozen=True)
class SearchSpec:
    """A search; its stored copy is all that a worker on another machine gets.

    It is a `rolekd.fleet.jobs.Job`.

    Attributes:
        seed: Base seed of all its random streams.
        role: "teacher" or "student".
        trainer: Name in the registry of `rolekd.search.trainer`.
        search: Size of the population, length, exploration, threads of each worker.
        training: JSON-able; whatever else decides the trainer's arithmetic.
        inputs: Path of each input file, relative to the folder of inputs -> its SHA-256.
        versions: Name of a library, of Python, or "rolekd code" -> its version.
        epochs: Of a whole training, as the final's are.
        given: Further candidates of the final: name -> JSON of a schedule.
    """

    kind: ClassVar[str] = "search"

    seed: int
    role: str
    trainer: str
    search: SearchParams
    training: Mapping[str, Any]
    inputs: Mapping[str, str]
    versions: Mapping[str, str]
    epochs: int
    given: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON-able values."""
        return {
            "kind": self.kind,
            **vars(self),
            "search": self.search.model_dump(mode="json"),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SearchSpec":
        """Make a spec of what `to_json` returned."""
        own = {name.name: value[name.name] for name in fields(cls)}
        return cls(**{**own, "search": SearchParams.model_validate(own["search"])})

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything in the spec."""
        return files.digest(self.to_json())

    @property
    def name(self) -> str:
        """Name of the study: the role and the first digits of the fingerprint."""
        return f"{self.role}-{self.fingerprint[:12]}"

    @property
    def judged_by_students(self) -> bool:
        """Whether the final compares teachers by the students that learn from them."""
        return self.role == "teacher" and self.search.teacher_by == "student"

    @property
    def threads(self) -> int:
        """Threads of each worker."""
        return self.search.threads_per_worker

    @property
    def device(self) -> str:
        """What it trains on, cpu or cuda; other packages' trainers may not say it: then cpu."""
        return str(self.training.get("device", "cpu"))

    @property
    def measures(self) -> str:
        """See `rolekd.fleet.jobs.Job`."""
        return "accuracy on search_val"

    @property
    def tasks(self) -> int:
        """The largest number of tasks: a final may have fewer candidates."""
        return self.search.tasks

    def describe(self, task: Any) -> str:
        """Return candidate and seed of a task of the final; empty for another."""
        return f"{task.candidate.name}, seed {task.seed}" if task.candidate else ""

    # these import Optuna's samplers, trainers and torch only when they are called

    def make_planner(self) -> Planner:
        """See `rolekd.fleet.jobs.Job`."""
        from rolekd.search.planner import make_planner

        return make_planner(self)

    def finished(self, history: Sequence[Generation]) -> bool:
        """See `rolekd.fleet.jobs.Job`."""
        return phases.finished(self.search, history)

    def preload(self) -> None:
        """See `rolekd.fleet.jobs.Job`."""
        from rolekd.search.trainer import find_trainer

        find_trainer(self.trainer)

    def make_trainer(self, inputs: Path, keep: Path) -> Trainer:
        """See `rolekd.fleet.jobs.Job`."""
        from rolekd.search.trainer import SlotTrainer, find_trainer

        return SlotTrainer(find_trainer(self.trainer)(self, inputs, keep))

    def write_task(self, task: Any) -> dict[str, Any]:
        """See `rolekd.fleet.jobs.Job`."""
        from rolekd.search.attributes import write_task

        return write_task(task)

    def read_task(self, task: Task, attributes: Mapping[str, Any]) -> Task:
        """See `rolekd.fleet.jobs.Job`."""
        from rolekd.search.attributes import read_task

        return read_task(task, attributes)

    def trial_params(self, task: Any) -> Iterable[tuple[str, float, str]]:
        """See `rolekd.fleet.jobs.Job`."""
        from rolekd.search.parameters import policy_params

        return policy_params(task)
