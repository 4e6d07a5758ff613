"""A study as data: data sets, arms, seeds, searches, and what is compared, written before it runs.

    name: roles
    question: Does a student's own schedule help it?
    seeds: 8
    searches: 2
    data:
      digits: {preset: digits}
    arms:
      plain: {distilled: false, teacher: none, augmentation: none, starts_from: scratch}
      own: {teacher: searched, augmentation: student-schedule}
    primary: {arm: own, against: plain}

A cell is a data set, an arm, a seed and, if a search decides the arm, the number of the search.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from rolekd import params as parameters
from rolekd import yamlfiles
from rolekd.augment import ladder, named
from rolekd.errors import InputError, did_you_mean
from rolekd.params import Listed, Params, Points, Role, Section
from rolekd.sources import find as find_source

SEARCHED, SWAPPED = "searched", "swapped"
# an arm's augmentation can be one of these, hand-made, or a rung of the ladder
_SCHEDULES = (*named.SEARCHED_SCHEDULES, SWAPPED)

# sections of params.yaml that an arm can change; others are of the data set, or decide nothing
_OF_ARMS = ("augment", "search", "teacher", "student", "distill")

_NAME = r"[A-Za-z0-9][A-Za-z0-9_./+-]{0,99}"


def _name(value: object) -> object:
    if not isinstance(value, str) or re.fullmatch(_NAME, value) is None:
        raise ValueError(
            "not a name; begin with a letter or digit, then letters, digits and any of _ . / + -"
        )
    return value


Name = Annotated[str, BeforeValidator(_name)]
# dotted key of params.yaml -> its value
Changes = dict[str, Any]


class StudyArm(Section):
    """One arm: which role is trained, what it learns from, what augments its images."""

    role: Role = "student"
    distilled: bool = Field(True, description="of a student; false: the cross-entropy alone")
    teacher: str = Field(
        SEARCHED,
        description="what augmented the teacher: searched, none, the name of a hand-made "
        "augmentation, or a rung of the ladder",
    )
    augmentation: str = Field(
        named.NONE,
        description="none, the name of a hand-made augmentation, a rung of the ladder, "
        "teacher-schedule, student-schedule, or swapped: the student's of the next search",
    )
    starts_from: Literal["teacher", "scratch"] = "teacher"
    params: Changes = Field({}, description="dotted keys of params.yaml that differ, with values")
    label: str = Field("", max_length=200, description="in tables; empty: the name")

    @model_validator(mode="after")
    def _names_exist(self) -> "StudyArm":
        _check_handmade("teacher", self.teacher, (SEARCHED,))
        schedules = (named.TEACHER_SCHEDULE,) if self.role == "teacher" else _SCHEDULES
        _check_handmade("augmentation", self.augmentation, schedules)
        for key in self.params:
            if key.partition(".")[0] not in _OF_ARMS:
                raise ValueError(
                    f"params: {key} does not belong to an arm; give keys of "
                    f"{', '.join(_OF_ARMS)}, and others to the data set"
                )
        return self

    @property
    def is_searched(self) -> bool:
        """Whether a search decides anything about it."""
        return self.augmentation in _SCHEDULES or (self.has_teacher and self.teacher == SEARCHED)

    @property
    def has_teacher(self) -> bool:
        """Whether its student learns from a teacher or starts from one."""
        return self.role == "student" and (self.distilled or self.starts_from == "teacher")


def _check_handmade(key: str, name: str, schedules: tuple[str, ...]) -> None:
    known = (*named.HANDMADE, *schedules)
    if name in known or ladder.is_rung(name):
        return
    hint = did_you_mean(name, known, f"choose {', '.join(known)}, or a rung of the ladder")
    raise ValueError(f"{key} {name!r} is not an augmentation; {hint}")


class StudyData(Section):
    """One data set, and the parameters with which everything is trained on it."""

    preset: str = "digits"
    params: Changes = Field({}, description="dotted keys of params.yaml that differ, with values")
    label: str = Field("", max_length=200, description="in tables; empty: the name")


class Comparison(Section):
    """Two arms that are compared, over paired seeds."""

    arm: Name
    against: Name


class Primary(Comparison):
    """The comparison that answers the question; written before anything runs."""

    data: Listed[tuple[Name, ...]] = Field((), description="data sets; empty: all")
    points: Points = Field(1.0, description="the difference, in points, that would matter")


class Study(Section):
    """A whole study file."""

    name: Name
    question: str = Field(max_length=1000)
    seeds: Annotated[int, Field(ge=2, le=1000)] = 8
    searches: Annotated[int, Field(ge=1, le=100)] = Field(2, description="independent, per role")
    corruptions: bool = Field(True, description="measure accuracy under common corruptions, too")
    data: Annotated[dict[Name, StudyData], Field(min_length=1)]
    arms: dict[Name, StudyArm] = Field({}, description="name -> arm")
    crossed: dict[Name, dict[Name, dict[Name, Changes]]] = Field(
        {},
        description="name -> factor -> level -> keys of an arm: an arm for each combination of "
        "levels, NAME/LEVEL/LEVEL",
    )
    only: dict[Name, Listed[tuple[Name, ...]]] = Field(
        {}, description="data set -> patterns of the arms that are trained on it; absent: all"
    )
    primary: Primary
    comparisons: Listed[tuple[Comparison, ...]] = ()
    table: Listed[tuple[Name, ...]] = Field(
        (), description="arms of the first table, in order; empty: those of the comparisons"
    )

    @model_validator(mode="before")
    @classmethod
    def _cross(cls, content: Any) -> Any:
        """Add the arms of `crossed` to `arms`."""
        if not isinstance(content, Mapping) or not isinstance(content.get("crossed"), Mapping):
            return content
        arms = dict(content.get("arms") or {})
        for name, factors in content["crossed"].items():
            if not _is_crossed(factors):
                raise ValueError(f"crossed.{name}: give each factor its levels, each with its keys")
            if any("/" in str(part) for part in (name, *(p for f in factors.values() for p in f))):
                raise ValueError(f"crossed.{name}: a / divides levels; leave it out of their names")
            for levels in itertools.product(*(each.items() for each in factors.values())):
                title = "/".join([str(name), *(str(level) for level, _ in levels)])
                if title in arms:
                    raise ValueError(f"crossed.{name}: {title} is an arm already; rename it")
                arms[title] = _merged(changes or {} for _, changes in levels)
        return {**content, "arms": arms}

    @model_validator(mode="after")
    def _named_things_exist(self) -> "Study":
        if not self.arms:
            raise ValueError("arms: none; name at least two")
        swapped = [name for name, arm in self.arms.items() if arm.augmentation == SWAPPED]
        if swapped and self.searches == 1:
            raise ValueError(
                f"arms.{swapped[0]}: swapped takes the schedule of another search, and searches is "
                "1; make it 2"
            )
        named_arms = [self.primary, *self.comparisons]
        places = [(one.arm, "an arm") for one in named_arms]
        places += [(one.against, "an arm") for one in named_arms]
        places += [(name, "an arm") for name in self.table]
        for name, what in places:
            if name not in self.arms:
                raise ValueError(f"{name!r} is not {what}; {did_you_mean(name, self.arms)}")
        for name in (*self.primary.data, *self.only):
            if name not in self.data:
                raise ValueError(f"{name!r} is not a data set; {did_you_mean(name, self.data)}")
        for name in self.primary.data or self.data:
            for arm in (self.primary.arm, self.primary.against):
                if not self.takes(name, arm):
                    raise ValueError(f"only.{name}: leaves out {arm}, which primary compares")
        for name, patterns in self.only.items():
            for pattern in patterns:
                if not any(_matches(arm, pattern) for arm in self.arms):
                    known = [*self.arms, *self.crossed]
                    raise ValueError(
                        f"only.{name}: {pattern!r} is not an arm; {did_you_mean(pattern, known)}"
                    )
        for one in named_arms:
            if one.arm == one.against:
                raise ValueError(f"{one.arm!r} is compared with itself; name another arm")
            if not any(
                self.takes(name, one.arm) and self.takes(name, one.against) for name in self.data
            ):
                raise ValueError(
                    f"{one.arm!r} and {one.against!r} are compared, but only leaves them no data "
                    "set in common; add them to one"
                )
        return self

    @property
    def least_p(self) -> float:
        """The smallest possible adjusted p of a comparison other than the primary one."""
        return min(1.0, max(len(self.comparisons), 1) * 2.0 ** (1 - self.seeds))

    def takes(self, data: str, arm: str) -> bool:
        """Whether an arm is trained on a data set."""
        patterns = self.only.get(data)
        if patterns is None:
            return True
        return any(_matches(arm, pattern) for pattern in patterns)

    def cells(self) -> Iterator["Cell"]:
        """Yield the cells, seed by seed, so that the first pairs are soon complete."""
        for data in self.data:
            for seed in range(self.seeds):
                for name, arm in self.arms.items():
                    if not self.takes(data, name):
                        continue
                    for search in range(self.searches) if arm.is_searched else (None,):
                        yield Cell(data, name, search, seed)

    def label(self, arm: str) -> str:
        """Return what tables call an arm."""
        return self.arms[arm].label or arm

    def params_of(self, data: str, arm: StudyArm | None = None) -> Params:
        """Return all parameters of an arm on a data set.

        Raises:
            InputError: A key does not exist, or its value does not fit.
        """
        given = self.data[data]
        try:
            return Params.preset(given.preset, {**given.params, **(arm.params if arm else {})})
        except InputError as error:
            raise InputError(f"data.{data}: {error}") from error


@dataclass(frozen=True, order=True)
class Cell:
    """One training of a study.

    Attributes:
        data: Name of the data set.
        arm: Name of the arm.
        search: Number of the search that decides it; None: no search does.
        seed: Number of the seed; cells with the same seed are pairs.
    """

    data: str
    arm: str
    search: int | None
    seed: int

    def __str__(self) -> str:
        search = "" if self.search is None else f", search {self.search}"
        return f"{self.data}, {self.arm}{search}, seed {self.seed}"


def load(path: Path) -> Study:
    """Read and check a study file, including the parameters of every arm on every data set.

    Raises:
        InputError: A fault, in one line.
    """
    content = yamlfiles.load(path, "name the file of a study")
    try:
        study = Study.model_validate(content if content is not None else {})
    except ValidationError as error:
        raise InputError(f"{path}: {parameters.faults(error, Study)}") from None
    for data in study.data:
        try:
            find_source(study.params_of(data).data.source)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        checked: list[Changes] = []
        for name, arm in study.arms.items():
            if study.takes(data, name) and arm.params not in checked:
                checked.append(arm.params)
                try:
                    study.params_of(data, arm)
                except InputError as error:
                    raise InputError(f"{path}: arms.{name}: {error}") from error
    return study


def _is_crossed(factors: object) -> bool:
    """Whether something is factor -> level -> keys of an arm; only the keys may be empty."""
    return (
        isinstance(factors, Mapping)
        and bool(factors)
        and all(
            isinstance(levels, Mapping)
            and bool(levels)
            and all(
                changes is None
                or (isinstance(changes, Mapping) and isinstance(changes.get("params", {}), Mapping))
                for changes in levels.values()
            )
            for levels in factors.values()
        )
    )


def _merged(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the keys of an arm from those of its levels, whose `params` are merged."""
    found: dict[str, Any] = {}
    for part in parts:
        params = {**found.get("params", {}), **part.get("params", {})}
        found |= part
        if params:
            found["params"] = params
    return found


def _matches(arm: str, pattern: str) -> bool:
    """Whether a pattern means an arm: by its name, or as one of those crossed under it."""
    return arm == pattern or arm.startswith(f"{pattern}/")
