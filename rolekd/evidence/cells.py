"""What each cell of a study needs: the searches that it waits for, and its training."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rolekd import files
from rolekd.augment import ladder, named
from rolekd.augment.named import NamedAugmentation
from rolekd.augment.schedule import Schedule
from rolekd.evidence.design import SEARCHED, SWAPPED, Cell, Study, StudyArm
from rolekd.evidence.keys import as_recorded
from rolekd.evidence.trainings import TrainingSpec
from rolekd.params import Params, Role
from rolekd.search import member


@dataclass(frozen=True, eq=False)
class Search:
    """A search of a study.

    Attributes:
        data: Digest of the data set.
        role: Whose schedule is searched.
        number: Of the search; independent searches differ in it.
        params: All parameters, with the search's seed.
        given: See `rolekd.search.spec.SearchSpec`.
        weights: See `Plan`.
        teacher: The one that the students learn from; None: a teacher's schedule is searched.
        taught_by: What augmented it, as the arm names it.
    """

    data: str
    role: Role
    number: int
    params: Params
    given: Mapping[str, Any]
    weights: Mapping[Role, str]
    teacher: TrainingSpec | None = None
    taught_by: str = ""

    @property
    def taught(self) -> Mapping[str, Any] | None:
        """What augments that teacher."""
        return None if self.teacher is None else dict(self.teacher.augmentation)

    @functools.cached_property
    def key(self) -> str:
        """Sixteen hex digits; anything that decides what is found changes them."""
        search = self.params.search.model_dump(mode="json")
        if self.params.search.confirm and self.params.search.confirm.teacher == "given":
            # records from before there was another have this key
            del search["confirm"]["teacher"]
        training = as_recorded(member.training(self.params, self.role, self.taught))
        # a search on record is not done again, whatever device trains what follows
        del training["device"]
        teacher = self.teacher.key if self.teacher else ""
        facts = [self.data, self.role, self.params.seed, search, training, self.given, teacher]
        # without weights the key is that of records from before networks could begin with any
        return files.digest([*facts, *([dict(self.weights)] if self.weights else [])])[:16]


class WaitsError(Exception):
    """A cell waits for a search that is not done."""

    def __init__(self, search: Search) -> None:
        super().__init__(search.key)
        self.search = search


class FaultError(Exception):
    """A cell cannot be trained, because what it needs has failed; the text says why."""


class Plan:
    """The cells of one data set.

    Args:
        study: The study.
        data: Name of the data set.
        digest: Of its content.
        weights: Role -> SHA-256 of the weights that its networks begin with, if any.
        found: Search -> what it found; raises `WaitsError` or `FaultError`.
    """

    def __init__(
        self,
        study: Study,
        data: str,
        digest: str,
        weights: Mapping[Role, str],
        found: Callable[[Search], Schedule],
    ) -> None:
        self._study, self._data, self._digest = study, data, digest
        self._weights, self._found = weights, found
        self._params: dict[str, Params] = {}

    def training(self, cell: Cell) -> TrainingSpec:
        """Return the training of a cell.

        Raises:
            WaitsError: A search must be done first.
            FaultError: A search has failed.
        """
        arm = self._study.arms[cell.arm]
        if arm.role == "teacher":
            return self._teacher(arm, arm.augmentation, cell.search, cell.seed)
        more: dict[str, Any] = {}
        if arm.has_teacher:
            more["teacher"] = self.teacher(cell).key
        return TrainingSpec.of(
            self._digest,
            "student",
            self._of(arm),
            self._augmentation(arm, cell.search),
            distilled=arm.distilled,
            starts_from_teacher=arm.starts_from == "teacher",
            seed=cell.seed,
            weights=self._weights.get("student", ""),
            **more,
        )

    def teacher(self, cell: Cell) -> TrainingSpec:
        """Return the training of the teacher that a student's cell learns from or starts with."""
        arm = self._study.arms[cell.arm]
        return self._teacher(arm, arm.teacher, cell.search, cell.seed)

    def _of(self, arm: StudyArm) -> Params:
        key = files.digest(arm.params)
        if key not in self._params:
            self._params[key] = self._study.params_of(self._data, arm)
        return self._params[key]

    def _teacher(
        self, arm: StudyArm, augmentation: str, search: int | None, seed: int
    ) -> TrainingSpec:
        params = self._of(arm)
        epochs = params.teacher.training.epochs
        if augmentation in (SEARCHED, named.TEACHER_SCHEDULE):
            assert search is not None
            schedule = self._found(self._teachers_search(arm, search))
            chosen = NamedAugmentation(named.TEACHER_SCHEDULE, schedule)
        else:
            chosen = _handmade(augmentation, epochs)
        weights = self._weights.get("teacher", "")
        return TrainingSpec.of(self._digest, "teacher", params, chosen, seed=seed, weights=weights)

    def _augmentation(self, arm: StudyArm, search: int | None) -> NamedAugmentation:
        name = arm.augmentation
        if name == named.TEACHER_SCHEDULE:
            assert search is not None
            return NamedAugmentation(name, self._found(self._teachers_search(arm, search)))
        if name in (named.STUDENT_SCHEDULE, SWAPPED):
            assert search is not None
            number = (search + (name == SWAPPED)) % self._study.searches
            return NamedAugmentation(name, self._found(self._students_search(arm, number)))
        return _handmade(name, self._of(arm).student.training.epochs)

    def _teachers_search(self, arm: StudyArm, number: int) -> Search:
        params = self._seeded(arm, number)
        return Search(self._digest, "teacher", number, params, {}, self._weights)

    def _students_search(self, arm: StudyArm, number: int) -> Search:
        params, given = self._seeded(arm, number), {}
        if arm.teacher == SEARCHED:
            schedule = self._found(self._teachers_search(arm, number))
            given[named.TEACHER_SCHEDULE] = schedule.to_json()
        teacher = self._teacher(arm, arm.teacher, number, seed=0)
        return Search(
            self._digest, "student", number, params, given, self._weights, teacher, arm.teacher
        )

    def _seeded(self, arm: StudyArm, number: int) -> Params:
        params = self._of(arm)
        return params.model_copy(update={"seed": params.seed + number})


def _handmade(name: str, epochs: int) -> NamedAugmentation:
    if name in named.HANDMADE:
        return NamedAugmentation(name)
    return NamedAugmentation(name, Schedule.constant(ladder.policy(name), epochs))
