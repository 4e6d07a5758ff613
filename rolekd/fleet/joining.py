"""Becoming workers of a job that was started elsewhere: versions, device, inputs."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rolekd.errors import InputError
from rolekd.fleet.artifacts import open_artifacts
from rolekd.fleet.board import Board
from rolekd.fleet.jobs import Job, refuse_other_device, refuse_other_versions
from rolekd.fleet.study import Ledger
from rolekd.fleet.team import Place, work


def misfit(ledger: Ledger) -> str | None:
    """Return why this machine cannot work on a job, in one line; None: it can."""
    try:
        refuse_other_versions(ledger.job)
        if ledger.job.device != "cpu":
            from rolekd.train import devices  # imports torch

            refuse_other_device(ledger.job, bool(devices.gpus()))
    except InputError as error:
        return f"study {ledger.name}: {error}"
    if ledger.artifacts is None:
        return f"study {ledger.name}: its inputs are not stored yet; try again in a moment"
    if failure := ledger.failure():
        return f"study {ledger.name}: failed ({failure}); run its stage again"
    return None


def join(
    storage: str,
    study: str,
    artifacts: str | None = None,
    watch: Callable[[Job], Callable[[Board], None]] = lambda _: lambda _: None,
    seats: Callable[[Job], Sequence[Mapping[str, str]]] = lambda _: ({},),
    *,
    fresh: bool = False,
) -> Board:
    """Work on a job that was started elsewhere, until it is finished.

    Args:
        storage: URL of its database.
        study: Name of its study.
        artifacts: Address of its artifact store; None: as the one knows it that started it.
        watch: Job -> what is called with every reading of its ledger.
        seats: Job -> what each process has in its environment besides this one's, this one first.
        fresh: This process has computed already, so that no process is forked.
    """
    ledger = Ledger.open(storage, study)
    if reason := misfit(ledger):
        raise InputError(reason)
    assert ledger.artifacts is not None
    store = open_artifacts(artifacts or ledger.artifacts, study)
    with tempfile.TemporaryDirectory(prefix="rolekd-worker-") as name:
        folder = Path(name)
        inputs, keep = folder / "inputs", folder / "keep"
        store.get_inputs(ledger.job.inputs, inputs)
        keep.mkdir()
        place = Place(storage, artifacts or ledger.artifacts, study, inputs, keep, scratch=folder)
        job = ledger.job
        _, board = work(ledger, place, seats(job), lambda: watch(job), fresh=fresh)
        return board
