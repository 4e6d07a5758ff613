"""Becoming a worker: the same versions, the inputs, the trainer with its threads."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rolekd.errors import InputError
from rolekd.search.artifacts import open_artifacts
from rolekd.search.board import Board
from rolekd.search.observers import Observer, Telling
from rolekd.search.spec import SearchSpec, differences, versions
from rolekd.search.study import Ledger
from rolekd.search.trainer import Trainer, find_trainer
from rolekd.search.worker import Worker


def limit_threads(count: int) -> None:
    """Give the numeric libraries `count` threads, those imported already and those to come.

    Not numba: no function of ours has threads of numba's, and once these exist it compiles nothing
    where their number in the environment is another one.
    """
    for name in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{name}_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def make_trainer(spec: SearchSpec, inputs: Path) -> Trainer:
    """Make the trainer that a spec names, with the threads that it names."""
    limit_threads(spec.search.threads_per_worker)
    trainer = find_trainer(spec.trainer)(spec, inputs)
    limit_threads(spec.search.threads_per_worker)
    return trainer


def join(
    storage: str, study: str, artifacts: str | None = None, observers: Sequence[Observer] = ()
) -> Board:
    """Work on a search that was started elsewhere, until it is finished.

    Args:
        storage: URL of its database.
        study: Name of its study.
        artifacts: Address of its artifact store; None: as the one knows it that started it.
        observers: Told of every result, whoever's it is.
    """
    ledger = Ledger.open(storage, study)
    refuse_other_versions(ledger.spec)
    if ledger.artifacts is None:
        raise InputError(f"study {study}: its inputs are not stored yet; try again in a moment")
    store = open_artifacts(artifacts or ledger.artifacts, study)
    with tempfile.TemporaryDirectory(prefix="rolekd-worker-") as folder:
        inputs = Path(folder, "inputs")
        store.get_inputs(ledger.spec.inputs, inputs)
        trainer = make_trainer(ledger.spec, inputs)
        pulse = Telling(observers, ledger.spec.search)
        return Worker(ledger, store, trainer, Path(folder), pulse).work()


def refuse_other_versions(spec: SearchSpec) -> None:
    """Refuse a search whose libraries or code are not the ones installed here."""
    if found := differences(spec.versions, versions()):
        raise InputError(
            f"this worker is not like the search's others ({'; '.join(found)}); "
            "install the same versions here"
        )
