"""A schedule: which policy acts in which epoch. Standard library only.

The file is JSON: `{"version": 1, "epochs": E, "operations": [...], "segments":
[[start_epoch, [60 integers]], ...]}`. It names the operations because their order is a
convention that nothing else in the file would give away.
"""

import bisect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekd.augment.policy import OPERATIONS, Policy
from rolekd.errors import InputError, brief
from rolekd.files import read_json, write_json

VERSION = 1
MAX_EPOCHS = 10_000  # as long as a training of params.yaml


@dataclass(frozen=True)
class Schedule:
    """Policies over `epochs` epochs; `segments` are (start epoch, policy), the first from 0.

    Raises:
        InputError: no epochs or segments, starts that do not rise from 0 or do not fit.
    """

    epochs: int
    segments: tuple[tuple[int, Policy], ...]

    def __init__(self, epochs: int, segments: Iterable[tuple[int, Policy]]) -> None:
        object.__setattr__(self, "epochs", epochs)
        object.__setattr__(self, "segments", tuple((start, policy) for start, policy in segments))
        _check_starts(epochs, [start for start, _ in self.segments])

    @classmethod
    def constant(cls, policy: Policy, epochs: int) -> "Schedule":
        """Return the schedule that uses one policy throughout."""
        return cls(epochs, [(0, policy)])

    def policy_at(self, epoch: int) -> Policy:
        """Return the policy of an epoch in 0..epochs-1; any other is an `InputError`."""
        if not 0 <= epoch < self.epochs:
            raise InputError(
                f"schedule: epoch {epoch} is outside its {self.epochs} epochs; "
                "stretch the schedule to the length of the training"
            )
        starts = [start for start, _ in self.segments]
        return self.segments[bisect.bisect_right(starts, epoch) - 1][1]

    def stretch(self, epochs: int) -> "Schedule":
        """Return the schedule scaled to another number of epochs.

        Starts are scaled and rounded down. Where segments meet in one epoch the last one stays,
        since it continues from there.
        """
        _check_count("epochs", epochs)
        scaled = {start * epochs // self.epochs: policy for start, policy in self.segments}
        return Schedule(epochs, scaled.items())

    def to_json(self) -> dict[str, Any]:
        """Return the JSON value of the file format."""
        return {
            "version": VERSION,
            "epochs": self.epochs,
            "operations": list(OPERATIONS),
            "segments": [[start, list(policy)] for start, policy in self.segments],
        }

    def save(self, path: Path | str) -> None:
        """Write the schedule as JSON, atomically."""
        write_json(path, self.to_json())


@dataclass(frozen=True)
class SegmentDifference:
    """What two schedules do differently in the epochs start..stop-1.

    Attributes:
        changes: (index in the policy, value in the first, value in the second), ascending.
    """

    start: int
    stop: int
    changes: tuple[tuple[int, int, int], ...]


def differences(first: Schedule, second: Schedule) -> list[SegmentDifference]:
    """Say where two schedules of the same length differ, and in what."""
    if first.epochs != second.epochs:
        raise InputError(
            f"schedules: one has {first.epochs} epochs, the other {second.epochs}; stretch one"
        )
    found: list[SegmentDifference] = []
    edges = sorted({start for one in (first, second) for start, _ in one.segments})
    for start, stop in itertools.pairwise([*edges, first.epochs]):
        pairs = zip(first.policy_at(start), second.policy_at(start), strict=True)
        changes = tuple((index, a, b) for index, (a, b) in enumerate(pairs) if a != b)
        if changes and found and (found[-1].stop, found[-1].changes) == (start, changes):
            found[-1] = SegmentDifference(found[-1].start, stop, changes)
        elif changes:
            found.append(SegmentDifference(start, stop, changes))
    return found


def simplest(schedule: Schedule) -> Schedule:
    """Return a schedule that does the same, equal for all of as many epochs that do the same."""
    segments: list[tuple[int, Policy]] = []
    for start, policy in schedule.segments:
        pairs = [(p, m if p else 0) for _, p, m in policy.entries()]
        acting = Policy(value for pair in pairs for value in pair)
        if not segments or segments[-1][1] != acting:
            segments.append((start, acting))
    return Schedule(schedule.epochs, segments)


def acts(schedule: Schedule) -> bool:
    """Return whether a schedule ever does anything."""
    return simplest(schedule) != Schedule.constant(Policy.zeros(), schedule.epochs)


def load(path: Path | str) -> Schedule:
    """Read a schedule file; every fault is an `InputError` that names the file and the place."""
    return parse(read_json(path), str(path))


def parse(content: Any, origin: str) -> Schedule:
    """Check the JSON value of a schedule; `origin` names it in errors."""
    try:
        _check_keys(content)
        return Schedule(content["epochs"], list(map(_segment, enumerate(content["segments"]))))
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error


def _check_keys(content: Any) -> None:
    if not isinstance(content, dict):
        raise InputError("is not a JSON object; write it with `rolekd schedule import`")
    keys = {"version", "epochs", "operations", "segments"}
    for key in sorted(keys - content.keys()):
        raise InputError(f"{key}: is missing; write the file with `rolekd schedule import`")
    for key in sorted(content.keys() - keys):
        raise InputError(f"{key!s:.40}: unknown key; remove it")
    # 1.0 and true are equal to 1, and are not the version
    if type(content["version"]) is not int or content["version"] != VERSION:
        raise InputError(
            f"version: is {brief(content['version'])}, this program reads {VERSION}; "
            "write the file again with this version of rolekd"
        )
    if content["operations"] != list(OPERATIONS):
        raise InputError(
            "operations: are not the known ones in the known order "
            f"({', '.join(OPERATIONS)}); reorder the pairs of every segment to this order"
        )
    if not isinstance(content["segments"], list):
        raise InputError("segments: is not a list; give [[start epoch, [60 integers]], ...]")


def _segment(numbered: tuple[int, Any]) -> tuple[int, Policy]:
    index, segment = numbered
    if not isinstance(segment, list) or len(segment) != 2 or not isinstance(segment[1], list):
        raise InputError(f"segment {index}: is not [start epoch, [60 integers]]; write it so")
    try:
        return segment[0], Policy(segment[1])
    except InputError as error:
        raise InputError(f"segment {index}: {error}") from error


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_EPOCHS:
        raise InputError(f"{name}: is {brief(value)}; make it an integer from 1 to {MAX_EPOCHS}")


def _check_starts(epochs: object, starts: list[int]) -> None:
    _check_count("epochs", epochs)
    assert isinstance(epochs, int)
    if not starts:
        raise InputError("segments: there is none; give at least one that starts at epoch 0")
    for index, start in enumerate(starts):
        if isinstance(start, bool) or not isinstance(start, int):
            raise InputError(
                f"segment {index}: start {brief(start)} is not an integer; give an epoch"
            )
        if index == 0 and start != 0:
            raise InputError(f"segment 0: starts at epoch {start}; the first must start at 0")
        if index and start <= starts[index - 1]:
            raise InputError(
                f"segment {index}: starts at epoch {start}, not after segment {index - 1}; "
                "sort the segments by their start"
            )
        if start >= epochs:
            raise InputError(
                f"segment {index}: starts at epoch {start}, which does not fit in {epochs} "
                "epochs; raise epochs or drop the segment"
            )
