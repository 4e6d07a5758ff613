"""What decides the numbers of a training: the list stands here.

dvc.yaml's dependencies, the versions that all workers of a search must share, and the import
contracts are checked against it by tests/test_code.py. A path is of a package or module below
`rolekd/`; what is not named, as a data source, a progress bar or the report, makes no training
stale.
"""

import functools
from pathlib import Path

from rolekd import files

TEACHER_CODE = (
    "augment", "data", "distill/objective.py", "models", "parallel.py", "seeds.py", "train",
)  # fmt: skip
STUDENT_CODE = (
    "augment", "data", "distill", "flat.py", "models", "parallel.py", "quantize", "seeds.py",
    "train",
)  # fmt: skip
SEARCH_CODE = ("fleet", "search", "sources/splits.py")
# how the students of an arm are begun
ARM_CODE = ("stages/students.py",)
# how the trainings of a study are begun, and what is measured of them
STUDY_CODE = ("evidence/trainings.py", "report/tables.py")
# what students need beside, who judge a teacher's schedule
JUDGES_CODE = ("distill", "flat.py", "quantize")


def other_checkout(folder: Path = Path()) -> Path | None:
    """Return where this code lies, if `folder` is the checkout of another; else None.

    The environment of a checkout that was copied or moved still runs the code of the first.
    """
    there = folder / "rolekd" / "code.py"
    if not there.is_file() or there.samefile(__file__):
        return None
    return Path(__file__).parents[1]


@functools.cache  # what this process has imported does not change when a file does
def version(paths: tuple[str, ...] = STUDENT_CODE + SEARCH_CODE + ARM_CODE + STUDY_CODE) -> str:
    """Return the first 16 hex digits of the SHA-256 of the code at `paths`."""
    root = Path(__file__).parent
    return files.digest({path: files.digest_path(root / path) for path in paths})[:16]
