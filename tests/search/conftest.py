import hashlib
import json
import multiprocessing
import os
import signal
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from rolekd.fleet.jobs import hash_inputs, installed_versions
from rolekd.fleet.runner import Storage
from rolekd.params import SearchParams
from rolekd.search.runner import run
from rolekd.search.spec import SearchSpec

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder for sys.path where an installed package seems to declare our fake trainer."""
    folder = tmp_path_factory.mktemp("site")
    package = folder / "fake_trainers-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-trainers\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[rolekd.trainers]\nfake = fake_trainers:Fake\n")
    (folder / "fake_trainers.py").write_text((HERE / "fake_trainers.py").read_text())
    return folder


@pytest.fixture
def trainers(site, monkeypatch):
    """The fake trainer is to be had, here and in processes that we start."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "data").mkdir()
    target = np.random.default_rng(7).integers(0, 10, 60, dtype=np.uint8)
    (folder / "data" / "target.bin").write_bytes(target.tobytes())
    return folder


@pytest.fixture(scope="session")
def make_spec(inputs):
    def make(
        seed=0, population=4, epochs=10, interval_epochs=2, algorithm="pbt", search=None, **training
    ):
        return SearchSpec(
            seed=seed,
            role="teacher",
            trainer="fake",
            search=SearchParams(
                population=population,
                epochs=epochs,
                interval_epochs=interval_epochs,
                algorithm=algorithm,
                **(search or {"confirm": None}),
            ),
            training=training,
            inputs=hash_inputs(inputs),
            versions=installed_versions(),
            epochs=epochs,
        )

    return make


@pytest.fixture
def digest():
    """Hash everything of a search's result that must not depend on how it was run."""

    def hash_found(found) -> str:
        rows = [
            [
                [r.task.slot.generation, r.task.slot.member],
                r.task.parent and [r.task.parent.generation, r.task.parent.member],
                r.task.policy,
                r.accuracy,
                sorted(r.extras.items()),
                r.state,
                r.images_seen,
                r.task.candidate and r.task.candidate.name,
                r.task.seed,
            ]
            for generation in found.history
            for r in generation
        ]
        winner = found.verdict and found.verdict.winner.name
        text = json.dumps([rows, found.schedule.to_json(), winner])
        return hashlib.sha256(text.encode()).hexdigest()

    return hash_found


@dataclass
class Searching:
    """A search in a process of its own."""

    process: BaseProcess
    answer: Path

    def kill(self, pid=None) -> None:
        os.kill(pid or self.process.pid, signal.SIGKILL)

    def helpers(self) -> list[int]:
        """Process numbers of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def result(self, timeout=150) -> str:
        """Wait for its end; return the digest of what it found."""
        self.process.join(timeout)
        assert self.process.exitcode == 0
        return self.answer.read_text()


@pytest.fixture
def start(trainers, inputs, digest, tmp_path):
    """Start a search in a process of its own, which is a fork: quick, since all is imported."""
    context = multiprocessing.get_context("fork")
    started = []

    def search(spec, state, workers, options, answer):
        answer.write_text(
            digest(run(spec, inputs, state, workers=workers, storage=Storage(**options)))
        )

    def begin(spec, state, workers=1, **options):
        answer = tmp_path / f"answer-{len(started)}"
        process = context.Process(target=search, args=(spec, state, workers, options, answer))
        process.start()
        started.append(process)
        return Searching(process, answer)

    yield begin
    for process in started:
        process.kill()
        process.join()
