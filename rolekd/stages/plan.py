"""Stage plan: what the arms ask for, and so which searches and teachers there will be.

DVC runs every stage of dvc.yaml. Those that make what no arm asks for read here that they are
not wanted, and make nothing. What is written does not name the arms: a further arm that asks for
the same makes no search and no teacher stale.
"""

import click

from rolekd import params
from rolekd.augment import named
from rolekd.errors import InputError
from rolekd.files import write_json
from rolekd.outputs import Outputs, Wanted
from rolekd.params import CompareParams


def plan(outputs: Outputs) -> None:
    """Check the arms of params.yaml and write which stages are wanted."""
    compare = params.load().compare
    check(compare)
    found = wanted(compare)
    for stage in ("search_teacher", "search_student", "teacher_searched", "teacher_plain"):
        Wanted(wanted=stage in found).save(outputs.wanted(stage))


def check(compare: CompareParams) -> None:
    """Raise `InputError` for an arm whose augmentation does not exist."""
    for name, arm in compare.arms.items():
        try:
            named.check(arm.augmentation)
        except InputError as error:
            raise InputError(f"params.yaml: compare.arms.{name}.augmentation: {error}") from error


def wanted(compare: CompareParams) -> set[str]:
    """Return the stages that the arms ask for, those included that these stand on."""
    arms = compare.arms.values()
    found = {f"teacher_{arm.teacher}" for arm in arms}
    for arm in arms:
        if arm.augmentation in named.SEARCHED:
            found.add(f"search_{named.SEARCHED[arm.augmentation][0]}")
    if "search_student" in found:
        found.add("teacher_searched")  # the student's search distils from it
    if "teacher_searched" in found:
        found.add("search_teacher")
    return found


def is_wanted(outputs: Outputs, stage: str, folder: str) -> bool:
    """Whether an arm asks for what `stage` makes; if not, say so, and leave empty metrics."""
    if Wanted.load(outputs.wanted(stage)).wanted:
        return True
    click.echo(f"{folder}: no arm of params.yaml asks for it; nothing to do")
    write_json(outputs.root / folder / "metrics.json", {})
    return False
