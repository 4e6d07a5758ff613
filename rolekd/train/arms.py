"""The arms of the comparison: what augments a student, and whether a teacher teaches it.

All arms share everything else: data, budget, seeds, and the weights they start from.
"""

from dataclasses import dataclass
from typing import Literal

Augmentation = Literal["base", "randaugment", "trivialaugment", "teacher", "student"]


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        taught: Whether the loss has the distillation terms.
        augmentation: What acts before the base augmentation; "teacher" and "student" are the
            schedules that were searched for these roles.
    """

    taught: bool
    augmentation: Augmentation


ARMS = {
    "plain": Arm(taught=False, augmentation="base"),
    "kd": Arm(taught=True, augmentation="base"),
    "kd-randaugment": Arm(taught=True, augmentation="randaugment"),
    "kd-trivialaugment": Arm(taught=True, augmentation="trivialaugment"),
    "kd-shared": Arm(taught=True, augmentation="teacher"),
    "kd-rolewise": Arm(taught=True, augmentation="student"),
}
