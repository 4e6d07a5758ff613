"""The augmentation of a training by its name in arms: hand-made, searched, or a file.

The names are defined only here; a new hand-made augmentation is a row of `HANDMADE`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rolekd.augment import schedule as schedules
from rolekd.augment.handmade import Adaptive, RandAugment, TrivialAugment
from rolekd.augment.recipe import Augmentation
from rolekd.augment.schedule import Schedule
from rolekd.errors import InputError, did_you_mean
from rolekd.files import read_json, write_json
from rolekd.params import Role

SCHEDULES_FOLDER = "schedules"
NONE, TEACHER_SCHEDULE, STUDENT_SCHEDULE = "none", "teacher-schedule", "student-schedule"

# name -> (what acts before the base augmentation, what people read). TrivialAugment moves by up to
# 32 pixels, which is the whole image at 32x32; other sizes are moved in proportion.
HANDMADE: dict[str, tuple[Augmentation, str]] = {
    NONE: (None, "no policy"),
    "randaugment": (RandAugment(), "RandAugment"),
    "trivialaugment": (TrivialAugment(scaled=True), "TrivialAugment"),
    "adaptive": (Adaptive(), "adaptive RandAugment"),
}
# name -> (the role whose schedule it is, what people read)
SEARCHED_SCHEDULES: dict[str, tuple[Role, str]] = {
    TEACHER_SCHEDULE: ("teacher", "the teacher's schedule"),
    STUDENT_SCHEDULE: ("student", "its own schedule"),
}


@dataclass(frozen=True)
class NamedAugmentation:
    """The augmentation of a training, from its first epoch to its last.

    Attributes:
        name: As arms have it.
        schedule: Searched or from a file; None: hand-made, the same in every epoch.
    """

    name: str
    schedule: Schedule | None = None

    def over(self, epochs: int) -> Callable[[int], Augmentation]:
        """Return epoch -> augmentation before the base augmentation, in a training of `epochs`."""
        if self.schedule is None:
            handmade, _ = HANDMADE[self.name]
            return lambda _: handmade
        return self.schedule.stretch(epochs).policy_at

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        schedule = None if self.schedule is None else self.schedule.to_json()
        return {"name": self.name, "schedule": schedule}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], source: str) -> "NamedAugmentation":
        """Make one of what `to_json` returned; `source` is named in errors."""
        schedule = value["schedule"]
        return cls(value["name"], None if schedule is None else schedules.parse(schedule, source))

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        write_json(path, self.to_json())


def load(path: Path) -> NamedAugmentation:
    """Read what `save` wrote; every fault is an `InputError` that names the file."""
    content: Any = read_json(path)
    if not isinstance(content, dict) or set(content) != {"name", "schedule"}:
        raise InputError(f"{path}: not the augmentation of an arm; dvc repro augmentations")
    if content["schedule"] is None and content["name"] not in HANDMADE:
        raise InputError(f"{path}: {content['name']} needs a schedule; dvc repro augmentations")
    return NamedAugmentation.from_json(content, str(path))


def check(name: str, project: Path = Path()) -> None:
    """Raise `InputError` for an unknown name, and for a missing file."""
    if name in HANDMADE or name in SEARCHED_SCHEDULES:
        return
    if not name.endswith(".json"):
        known = [*HANDMADE, *SEARCHED_SCHEDULES]
        hint = did_you_mean(name, [*known, f"{SCHEDULES_FOLDER}/FILE.json"])
        raise InputError(f"{name!r} is not an augmentation; {hint}")
    path = PurePosixPath(name)
    if path.parent != PurePosixPath(SCHEDULES_FOLDER):
        # DVC watches that folder: a schedule elsewhere could change unnoticed
        raise InputError(
            f"{name}: put the file into {SCHEDULES_FOLDER}/ and name it "
            f"{SCHEDULES_FOLDER}/{path.name}"
        )
    if not (project / path).is_file():
        raise InputError(f"{name}: no such file; put it there, or name another augmentation")


def resolve(
    name: str, searched: Callable[[Role], Path], project: Path = Path()
) -> NamedAugmentation:
    """Return the augmentation of a name; `searched` gives the file of a role's schedule."""
    check(name, project)
    if name in HANDMADE:
        return NamedAugmentation(name)
    path = searched(SEARCHED_SCHEDULES[name][0]) if name in SEARCHED_SCHEDULES else project / name
    return NamedAugmentation(name, schedules.load(path))


def describe(name: str) -> str:
    """Return its name for people."""
    known = {**HANDMADE, **SEARCHED_SCHEDULES}
    return str(known[name][1]) if name in known else f"the schedule of {PurePosixPath(name).name}"
