"""Becoming a worker: the same versions, the inputs, the trainer with its threads."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rolekd.errors import InputError
from rolekd.fleet.artifacts import open_artifacts
from rolekd.fleet.board import Board
from rolekd.fleet.jobs import Job, Trainer, refuse_other_versions
from rolekd.fleet.study import Ledger
from rolekd.fleet.worker import Worker


def limit_threads(count: int) -> None:
    """Give the numeric libraries `count` threads, those imported already and those to come.

    Not numba: no function of ours has threads of numba's, and once these exist it compiles nothing
    where their number in the environment is another one.
    """
    for name in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{name}_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def make_trainer(job: Job, inputs: Path, keep: Path) -> Trainer:
    """Make a job's trainer, with the threads that the job names."""
    limit_threads(job.threads)
    trainer = job.make_trainer(inputs, keep)
    limit_threads(job.threads)
    return trainer


def join(
    storage: str,
    study: str,
    artifacts: str | None = None,
    watch: Callable[[Job], Callable[[Board], None]] = lambda _: lambda _: None,
) -> Board:
    """Work on a job that was started elsewhere, until it is finished.

    Args:
        storage: URL of its database.
        study: Name of its study.
        artifacts: Address of its artifact store; None: as the one knows it that started it.
        watch: Job -> what is called with every reading of its ledger.
    """
    ledger = Ledger.open(storage, study)
    refuse_other_versions(ledger.job)
    if ledger.artifacts is None:
        raise InputError(f"study {study}: its inputs are not stored yet; try again in a moment")
    store = open_artifacts(artifacts or ledger.artifacts, study)
    with tempfile.TemporaryDirectory(prefix="rolekd-worker-") as name:
        folder = Path(name)
        inputs, keep = folder / "inputs", folder / "keep"
        store.get_inputs(ledger.job.inputs, inputs)
        keep.mkdir()
        trainer = make_trainer(ledger.job, inputs, keep)
        return Worker(ledger, store, trainer, folder, watch(ledger.job)).work()
