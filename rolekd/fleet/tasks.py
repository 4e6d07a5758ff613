"""What workers share: tasks, and what became of them.

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

GAIN = "gain"  # attribute of a trial: its accuracy above that of its parent, 0..1


@dataclass(frozen=True, order=True)
class Slot:
    """The identity of a task, and the base of its random streams."""

    generation: int
    member: int


@dataclass(frozen=True)
class Task:
    """One training of a job; a job's own tasks say more.

    Attributes:
        slot: Where in the job this is.
        parent: Slot in the generation before, whose state is continued; None: fresh weights.
        generation_size: Number of tasks of this generation.
    """

    slot: Slot
    parent: Slot | None
    generation_size: int


@dataclass(frozen=True)
class Outcome:
    """What the training of a task gave.

    Attributes:
        accuracy: 0..1, on the images that the job measures with; NaN: the loss became NaN, and
            there is no state.
        images_seen: Training images.
        seconds: Wall time of training and validation.
        extras: Further numbers for the history, by name.
    """

    accuracy: float
    images_seen: int
    seconds: float
    extras: Mapping[str, float] = field(default_factory=dict)


TaskT = TypeVar("TaskT", bound=Task, covariant=True)


@dataclass(frozen=True)
class Result(Generic[TaskT]):
    """What came of a finished task.

    Attributes:
        task: What was trained.
        trial: Number of the Optuna trial that holds it.
        accuracy: See `Outcome`; None if the loss became NaN.
        images_seen: Training images of this task.
        seconds: Wall time of training and validation.
        state: SHA-256 of what the training left, its state or its weights; None: nothing.
        extras: Further numbers of the trainer's.
    """

    task: TaskT
    trial: int
    accuracy: float | None
    images_seen: int
    seconds: float
    state: str | None = None
    extras: Mapping[str, float] = field(default_factory=dict)
