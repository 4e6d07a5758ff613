"""What workers share: tasks in slots, and what became of them.

Standard library only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

GAIN = "gain"  # attribute of a trial: its accuracy above that of its parent, 0..1


@dataclass(frozen=True, order=True)
class Slot:
    """The identity of a piece of work."""

    generation: int
    member: int


@dataclass(frozen=True)
class Task:
    """What is trained in a slot; a job's own tasks say more.

    Attributes:
        slot: Where in the job this is.
        parent: Slot of the generation before whose training state is continued; None: from fresh.
        width: Number of slots of this generation.
    """

    slot: Slot
    parent: Slot | None
    width: int


@dataclass(frozen=True)
class Outcome:
    """What one slot's training gave.

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
    """A finished slot.

    Attributes:
        task: What was trained.
        trial: Number of the Optuna trial that holds it.
        accuracy: See `Outcome`; None where the loss became NaN.
        images_seen: Training images in this slot.
        seconds: Wall time of training and validation.
        state: SHA-256 of what the training left, its state or its weights; None where there is
            nothing.
        extras: Further numbers of the trainer's.
    """

    task: TaskT
    trial: int
    accuracy: float | None
    images_seen: int
    seconds: float
    state: str | None = None
    extras: Mapping[str, float] = field(default_factory=dict)


History = Sequence[Sequence[Result[TaskT]]]
