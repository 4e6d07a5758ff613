"""`rolekd bench fleet`: what a study costs when many workers share it.

Simulated workers, whose trainings only sleep, take the tasks of one job; some are killed at random
instants and replaced. The overhead of a task is the time from the end of a worker's training to the
beginning of its next one: storing the result, reading the study, claiming a task.
"""

import os
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.machine import describe
from rolekd import addresses
from rolekd import workers as processes
from rolekd.fleet.artifacts import open_artifacts
from rolekd.fleet.snapshot import State
from rolekd.fleet.studies import JobStudy, delete
from rolekd.fleet.tasks import Outcome, Task
from rolekd.fleet.worker import Worker
from rolekd.stages.students import Students

_HEARTBEAT = 10


def run(
    workers: int = 50,
    tasks: int = 2000,
    seconds: float = 10.0,
    kills: int = 10,
    storage: str | None = None,
) -> dict[str, Any]:
    """Measure.

    Args:
        workers: Processes.
        tasks: Of the job.
        seconds: That a training sleeps, give or take half.
        kills: Workers that are killed, at random instants.
        storage: URL of the database; None: SQLite.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = storage or addresses.of_sqlite(folder / "study.db")
        job = Students("bench", tasks, {"threads": 1, "machine": {"device": "cpu"}}, {}, {})
        name = f"bench-{os.getpid()}-{time.time_ns()}"
        JobStudy.create(url, job, name, _HEARTBEAT).close()
        arguments = (url, name, folder, seconds)
        fleet = _Fleet(workers, arguments)
        stack.callback(fleet.end)
        began = time.perf_counter()
        gaps = fleet.work(kills, random.Random(0), tasks * seconds / workers)
        wall = time.perf_counter() - began
        study = JobStudy.open(url, name)
        snapshot = study.read()
        study.close()
        delete(url, name)
    done = [trial for trial in snapshot.trials if trial.state is State.DONE]
    return {
        "machine": describe(("optuna", "sqlalchemy")),
        "database": url.partition(":")[0],
        "workers": workers,
        "tasks": tasks,
        "seconds": round(wall, 1),
        "shortest_possible": round(tasks * seconds / workers, 1),
        "killed": fleet.killed,
        "results": len(done),
        "lost_tasks": tasks - len({trial.task.slot for trial in done}),
        "tasks_with_two_results": len(done) - len({trial.task.slot for trial in done}),
        "given_up_and_trained_again": sum(e.state is State.LOST for e in snapshot.trials),
        "overhead_ms_median": round(1e3 * statistics.median(gaps), 1),
        "overhead_ms_95": round(1e3 * statistics.quantiles(gaps, n=20)[-1], 1),
    }


class _Fleet:
    """The processes, of which some die."""

    def __init__(self, count: int, arguments: tuple[Any, ...]) -> None:
        self._arguments = arguments
        self._members = [self._start(number) for number in range(count)]
        self.killed = 0

    def _start(self, number: int, fresh: bool = False) -> processes.WorkerProcess:
        return processes.WorkerProcess.start(_work, number, *self._arguments, fresh=fresh)

    def work(self, kills: int, chance: random.Random, long: float) -> list[float]:
        """Return the gaps between trainings, once no worker is left with work."""
        instants = sorted(chance.uniform(0.1, 0.8) * long for _ in range(kills))
        gaps: list[float] = []
        began = time.perf_counter()
        while self._members:
            pipes = {member.pipe: member for member in self._members}
            for pipe in wait(list(pipes), timeout=0.1):
                member = pipes[pipe]  # type: ignore[index]
                try:
                    gaps += member.receive()
                except EOFError:
                    self._members.remove(member)
                    member.process.join()
            if self._members and instants and time.perf_counter() - began > instants[0]:
                instants.pop(0)
                victim = chance.randrange(len(self._members))
                self._members[victim].process.kill()
                self._members.append(self._start(victim, fresh=True))
                self.killed += 1
        return gaps

    def end(self) -> None:
        """End all that are left."""
        processes.end(self._members)


class _Sleeper:
    """A trainer that trains nothing; it keeps the times between its trainings."""

    def __init__(self, number: int, seconds: float) -> None:
        self._chance = random.Random(number)
        self._seconds = seconds
        self._ended: float | None = None
        self.gaps: list[float] = []

    def train(self, task: Task, state: Path | None, out: Path) -> Outcome:
        """Sleep."""
        del state
        if self._ended is not None:
            self.gaps.append(time.perf_counter() - self._ended)
        seconds = self._seconds * self._chance.uniform(0.5, 1.5)
        time.sleep(seconds)
        out.write_bytes(bytes(8))
        self._ended = time.perf_counter()
        return Outcome(task.slot.member / 1e6, 1, seconds)


def _work(pipe: Connection, number: int, url: str, name: str, folder: Path, seconds: float) -> None:
    study = JobStudy.open(url, name, patience=None)
    trainer = _Sleeper(number, seconds)
    Worker(study, open_artifacts(str(folder / "store"), name), trainer, folder).work()
    pipe.send(trainer.gaps)


def table(result: dict[str, Any]) -> Table:
    """Show a result to people."""
    shown = Table("fleet", "")
    for name, value in result.items():
        if name != "machine":
            shown.add_row(name.replace("_", " "), str(value))
    return shown
