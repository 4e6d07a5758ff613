"""Removing old training states: of generations whose successors no longer need them."""

from collections.abc import Iterable

from rolekd.fleet.artifacts import Artifacts
from rolekd.fleet.snapshot import Snapshot


def sweep(artifacts: Artifacts, snapshot: Snapshot, generations: Iterable[int]) -> None:
    """Remove the outgrown training states of some generations."""
    for trial in snapshot.outgrown(generations):
        artifacts.remove_state(trial.task.slot, trial.number)
