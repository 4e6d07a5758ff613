"""Stage plan: what the arms ask for, and so which searches and teachers there will be.

It also reads the weights that networks begin with, so that no later stage needs their files.

DVC runs every stage of dvc.yaml. A stage whose result no arm asks for reads here that it is not
wanted, and writes nothing into its outputs. The plan does not name the arms: another arm that asks
for the same makes no search and no teacher stale.
"""

from pathlib import Path
from typing import get_args

from rolekd import code, params
from rolekd.augment import named
from rolekd.errors import InputError
from rolekd.files import clear_unfinished, sha256, write_bytes
from rolekd.outputs import Outputs, Wanted
from rolekd.params import CONFIRMED, CompareParams, Params, Role, TeacherName

# a safetensors file without tensors; DVC warns of empty files
_NO_TENSORS = (8).to_bytes(8, "little") + b"{}".ljust(8)
# stages, with the key of a foreach, that run only if an arm asks for what they make
STAGES = (
    ("search_teacher", None),
    ("search_student", None),
    *(("train_teacher", name) for name in get_args(TeacherName)),
)


def plan(outputs: Outputs) -> None:
    """Check the arms of params.yaml and write which stages are wanted."""
    loaded = params.load()
    check(loaded.compare)
    check_taken(loaded)
    found = wanted_stages(loaded)
    clear_unfinished(outputs.stage("plan"))  # of a killed process
    for role in get_args(Role):
        _collect(loaded, role, outputs)
    for stage in STAGES:
        judges = None
        if stage == ("search_teacher", None) and loaded.search.teacher_by == "student":
            judges = loaded.model_dump(mode="json", include={"student", "distill"})
            judges["code"] = code.version(code.JUDGES_CODE)
            if loaded.student.weights is not None:
                judges["weights"] = sha256(outputs.pretrained("student"))
        Wanted(wanted=stage in found, judges=judges).save(outputs.wanted(*stage))


def _collect(loaded: Params, role: Role, outputs: Outputs) -> None:
    """Write the weights that a role's network begins with, or a file without any."""
    settings, path = getattr(loaded, role), outputs.pretrained(role)
    if settings.weights is None:
        write_bytes(path, _NO_TENSORS)
        return
    from rolekd.train import pretrained  # imports torch, which is not needed otherwise

    pretrained.check_and_write(loaded, role, path)


def is_blank(path: Path) -> bool:
    """Return whether a file of weights to begin with is one without any."""
    return path.read_bytes() == _NO_TENSORS


def check_taken(loaded: Params) -> None:
    """Refuse an arm that asks for the schedule of a teacher that is not trained here."""
    if loaded.teacher.train:
        return
    for name, arm in loaded.compare.arms.items():
        if arm.augmentation == named.TEACHER_SCHEDULE:
            raise InputError(
                f"params.yaml: compare.arms.{name}.augmentation: {named.TEACHER_SCHEDULE}, but "
                "with teacher.train false no schedule is searched for it; remove the arm, or name "
                "another augmentation"
            )


def check(compare: CompareParams) -> None:
    """Raise `InputError` for an arm whose augmentation does not exist, or one that is missing."""
    for name, arm in compare.arms.items():
        try:
            named.check(arm.augmentation)
        except InputError as error:
            raise InputError(f"params.yaml: compare.arms.{name}.augmentation: {error}") from error
    if compare.export == CONFIRMED and named.STUDENT_SCHEDULE not in compare.confirmable:
        raise InputError(
            f"params.yaml: compare.export: {CONFIRMED} needs a distilled arm with the augmentation "
            f"{named.STUDENT_SCHEDULE}, the searched teacher and its weights; add one, or name an "
            "arm"
        )


def wanted_stages(loaded: Params) -> set[tuple[str, str | None]]:
    """Return the stages that the arms ask for, and those on which these depend."""
    arms = loaded.compare.arms.values()
    found: set[tuple[str, str | None]] = {("train_teacher", arm.teacher) for arm in arms}
    for arm in arms:
        if arm.augmentation in named.SEARCHED_SCHEDULES:
            found.add((f"search_{named.SEARCHED_SCHEDULES[arm.augmentation][0]}", None))
    if ("search_student", None) in found:
        found.add(("train_teacher", "searched"))  # the student's search distils from it
    if ("train_teacher", "searched") in found and loaded.teacher.train:
        found.add(("search_teacher", None))
    return found
