"""Kills at random instants of the whole pipeline; afterwards all is as if none had been.

`make test-kill` does it 100 times, in about half an hour. What was done is in build/test-kill,
a line for each kill; where it is interrupted, the same command resumes it.
"""

import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import lives
import pytest
from projects import ARMS, ROOT, Project, make_project

from rolekd import files

pytestmark = [pytest.mark.kill, pytest.mark.timeout(4 * 3600)]

KILLS = int(os.environ.get("KILLS", "100"))
SEED = int(os.environ.get("SEED", "0"))
ROUNDS = 2  # of the pipeline, from nothing to the end
FOLDER = ROOT / "build" / "test-kill"
ROLEKD = ("python", "-c", "from rolekd.cli import main; main()")
TINY = {
    "search": {
        "population": 2,
        "epochs": 8,
        "interval_epochs": 1,
        "proposals": 1,
        "ladder": ["all-3"],
        "confirm": {"rungs": [[4, 2]]},
    },
    "machine": {"workers": 2},
    "teacher": {"training": {"epochs": 20}},
    "student": {"training": {"epochs": 20}},
}
TRAININGS = [f"distill {arm}" for arm in ARMS]
# stage -> share of the kills in which no student is trained
OTHERS = {
    "plan": 1,
    "augmentations": 1,
    "prepare": 4,
    "search teacher": 9,
    "train_teacher searched": 9,
    "search student": 10,
    "evaluate": 5,
    "export": 4,
    "report": 4,
    "register": 5,
}
# the figure and the cells of latencies, which every report measures anew
_COSTS = rb'<svg[^>]*aria-label="Accuracy over file size and latency".*?</svg>'
_LATENCY = rb"(<td>(?:teacher, float32|this student)</td>.*?)<td>[\d.]+</td></tr>"
# seconds after the phase has begun
VICTIMS = ("dvc", "stage", "worker", "all")
LONGEST = {"start": 5.0, "work": 1.0, "end": 0.2}
SHORT = {"plan": 0.4, "augmentations": 0.4}  # stages that are over at once


@dataclass(frozen=True)
class Kill:
    """What is killed, where and when.

    Attributes:
        place: the stage, as `lives.Process.stage` names it.
        victim: "dvc" alone, the "stage", a "worker" of the search, or "all" at once.
        phase: of the stage: its "start", its "work" (epochs have been saved) or its "end" (outputs
            are being written).
        seconds: after the phase began.
    """

    place: str
    victim: str
    phase: str
    seconds: float


def plan(kills: int, seed: int) -> list[Kill]:
    """Return the kills: half of them in trainings of students, a third of them DVC alone."""
    chance = random.Random(f"kills {seed}")
    trainings = kills // 2
    places = [TRAININGS[number % len(TRAININGS)] for number in range(trainings)]
    places += chance.choices(list(OTHERS), list(OTHERS.values()), k=kills - trainings)
    victims = ["dvc"] * -(-kills // 3) + ["other"] * (kills - -(-kills // 3))
    chance.shuffle(victims)
    planned = [_kill(place, victim, chance) for place, victim in zip(places, victims, strict=True)]
    chance.shuffle(planned)
    return planned


def _kill(place: str, victim: str, chance: random.Random) -> Kill:
    searching = place.startswith("search")
    if place in TRAININGS:
        phase = "work"
    elif searching or place == "train_teacher searched":
        phase = chance.choice(["start", "work", "work", "end"])
    else:
        phase = chance.choice(["start", "start", "end"])
    if victim == "other" and searching:
        victim = chance.choice(["worker", "worker", "stage"])
        phase = "work" if victim == "worker" else phase
    elif victim == "other":
        victim = chance.choice(["stage", "all"])
    if place in SHORT:
        phase = "start"
    longest = SHORT.get(place, LONGEST[phase])
    return Kill(place, victim, phase, round(chance.uniform(0, longest), 3))


def test_the_plan_is_what_was_asked_for():
    planned = plan(100, 0)
    assert planned == plan(100, 0) != plan(100, 1)
    assert sum(kill.place in TRAININGS for kill in planned) == 50
    assert sum(kill.victim == "dvc" for kill in planned) == 34
    assert {kill.place for kill in planned} == {*TRAININGS, *OTHERS}
    assert {kill.victim for kill in planned} == set(VICTIMS)


class Killing:
    """Kills of one project; `log` keeps what was done."""

    def __init__(self, folder: Path, environment: dict[str, str], log: Path) -> None:
        self.folder = folder
        self.log = log
        self.mark = uuid.uuid4().hex
        self.environment = {**environment, lives.MARK: self.mark}

    def repro(self, waiting: list[Kill]) -> bool:
        """Run the pipeline till its end or a kill that ends it; True at its end.

        A kill that was carried out is taken from `waiting`.
        """
        output = FOLDER / "dvc.log"
        with output.open("wb") as file:
            dvc = subprocess.Popen(
                ["dvc", "repro"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            seen: dict[int, tuple[float, Kill | None]] = {}
            try:
                while dvc.poll() is None:
                    time.sleep(0.02)
                    if self._is_time(dvc, seen, waiting):
                        dvc.wait(120)
                        assert lives.until(lambda: not lives.marked(self.mark), 30), (
                            f"orphans after a kill: {lives.marked(self.mark)}"
                        )
                        return False
            finally:
                for process in lives.marked(self.mark):
                    process.kill()
                dvc.wait()
        assert dvc.returncode == 0, output.read_text(errors="replace")
        return True

    def _is_time(
        self,
        dvc: subprocess.Popen[bytes],
        seen: dict[int, tuple[float, Kill | None]],
        waiting: list[Kill],
    ) -> bool:
        """Kill where it is time for it; True where that ends the run."""
        living = lives.marked(self.mark)
        stage = lives.stage_of(living)
        if stage is None:
            return False
        if stage.pid not in seen:
            seen[stage.pid] = time.time(), _next(waiting, stage)
        began, kill = seen[stage.pid]
        if kill is None or not self._has_begun(kill, began):
            return False
        time.sleep(kill.seconds)
        living = lives.marked(self.mark)
        victims = {
            "dvc": [one for one in living if one.pid == dvc.pid],
            "stage": [one for one in living if one.pid == stage.pid],
            "worker": lives.workers_of(stage, living)[:1],
            "all": living,
        }[kill.victim]
        if not victims or stage.pid not in {one.pid for one in living}:
            return False  # it was too late: the next time that this stage runs
        for one in victims:
            one.kill()
        waiting.remove(kill)
        with self.log.open("a") as file:
            file.write(json.dumps({"kill": asdict(kill), "waiting": self.waiting()}) + "\n")
        seen[stage.pid] = time.time(), _next(waiting, stage)
        return kill.victim != "worker"

    def _has_begun(self, kill: Kill, began: float) -> bool:
        """Return whether the phase of a kill has begun in the stage process that began then."""
        root, (stage, *variant) = self.folder, kill.place.split(" ")
        name = "_".join([stage, *variant]) if stage == "search" else "-".join([stage, *variant])
        folder = root / "outputs" / ("data" if stage == "prepare" else name.replace("-", "/", 1))
        if kill.phase == "start":
            return True
        if kill.phase == "end":
            held = [folder, *folder.rglob("*")]
        elif stage == "search":
            held = list(root.glob(".rolekd/artifacts/*/*"))
        else:
            held = list(root.glob(f".rolekd/state/{name}-*/*.safetensors"))
        return any(_time(path) > began for path in held)

    def waiting(self) -> list[str]:
        """Return the keys of the runs that MLflow must hear of: what waits in the spool."""
        spools = self.folder.glob(".rolekd/spool/[!.]*")
        return sorted(spool.name for spool in spools if b"\n" in _content(spool / "events.jsonl"))


def _next(waiting: list[Kill], stage: lives.Process) -> Kill | None:
    return next((kill for kill in waiting if kill.place == stage.stage), None)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # removed meanwhile
        return b""


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0


def new_project(store: Path) -> Project:
    """Make a project of tiny trainings that are saved after every epoch.

    It is always in the same place: what an output says may depend on that.
    """
    shutil.rmtree(FOLDER / "place", ignore_errors=True)
    folder = FOLDER / "place" / "project"  # others make folders beside it
    folder.mkdir(parents=True)
    project = make_project(folder, store)
    project.set(**TINY)
    source = folder / "rolekd" / "train" / "fit.py"
    text, count = re.subn(
        r"^(_SECONDS_BETWEEN_SAVES) = .*$", r"\1 = 0.0", source.read_text(), flags=re.M
    )
    assert count == 1
    source.write_text(text)
    project.run("git", "commit", "-qam", "tiny")
    return project


def outputs(folder: Path) -> dict[str, str]:
    """Return output file -> hash of what is in it, without ids of runs and measured times."""
    paths = sorted(path for path in (folder / "outputs").rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(_lasting(path)).hexdigest()
        for path in paths
    }


def _lasting(path: Path) -> bytes:
    """Return the bytes of an output that two undisturbed runs have in common."""
    content = path.read_bytes()
    if path.name == "index.html":
        content = re.sub(_COSTS, b"", content, count=1, flags=re.DOTALL)
        content = re.sub(_LATENCY, rb"\1", content, flags=re.DOTALL)
        return re.sub(rb"\b[0-9a-f]{32}([0-9a-f]{8})?\b", b"", content)  # ids of runs, the commit
    if path.parent.name == "runs":
        content = re.sub(rb'"mlflow_run_id": "\w{32}"', b"", content)
    if path.parent.name == "register":  # a killed registration may have used up a number
        content = re.sub(rb'("version": |student/)\d+', rb"\1", content)
    return content


def complaints(killing: Killing) -> list[dict[str, str]]:
    """Return what doctor says of the project that is not ok."""
    done = subprocess.run(
        [*ROLEKD, "doctor", "--json"],
        cwd=killing.folder,
        env=killing.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return [found for found in json.loads(done.stdout) if found["verdict"] != "ok"]


@pytest.fixture(scope="module")
def undisturbed(fresh_store: Path) -> dict[str, str]:
    """Outputs of a pipeline in which nothing is killed; kept for a resumed test."""
    kept = FOLDER / "undisturbed.json"
    if not kept.exists():
        project = new_project(fresh_store)
        project.run("dvc", "repro")
        files.write_json(kept, outputs(project.folder))
    return json.loads(kept.read_text())


def test_killed_at_random_instants(fresh_store, undisturbed):
    log = FOLDER / f"kills-{SEED}-{KILLS}.jsonl"
    log.touch()
    for _ in range(3 * ROUNDS):
        done = read(log)
        rest = plan(KILLS, SEED)
        for kill, _ in done:
            rest.remove(kill)
        killing = Killing(*killed_project(fresh_store, len(done)), log)
        waiting = rest[: -(-KILLS // ROUNDS)]
        while not killing.repro(waiting):
            pass
        check(killing, undisturbed, read(log))
        (FOLDER / "round.json").unlink()
        if len(read(log)) == KILLS:
            break
    else:
        pytest.fail("the stages are too short for the kills that remain")
    sys.stdout.write(summary(log))


def killed_project(store: Path, done: int) -> tuple[Path, dict[str, str]]:
    """Make the project of a round, or continue in that of one that was interrupted.

    Returns:
        Its folder, and the environment of its commands.
    """
    unfinished = FOLDER / "round.json"
    if not unfinished.exists():
        project = new_project(store)
        ours = project.environment.items() - os.environ.items()  # the rest is nobody's business
        names = sorted(project.environment)
        kept = {"kills_before": done, "names": names, "environment": dict(sorted(ours))}
        files.write_json(unfinished, kept)
    kept = json.loads(unfinished.read_text())
    outer = {name: value for name, value in os.environ.items() if name in kept["names"]}
    return FOLDER / "place" / "project", outer | kept["environment"]


def read(log: Path) -> list[tuple[Kill, list[str]]]:
    """Return the kills that were carried out, with the keys of the runs that waited then."""
    lines = map(json.loads, log.read_text().splitlines())
    return [(Kill(**line["kill"]), line["waiting"]) for line in lines]


def check(
    killing: Killing, undisturbed: dict[str, str], done: list[tuple[Kill, list[str]]]
) -> None:
    """Compare a project whose pipeline came to its end after kills with one without any."""
    assert lives.until(lambda: not lives.marked(killing.mark), 30), lives.marked(killing.mark)
    assert outputs(killing.folder) == undisturbed
    assert complaints(killing) == []
    assert killing.waiting() == []
    with sqlite3.connect(killing.folder / "mlflow.db") as connection:
        statuses = {status for (status,) in connection.execute("select status from runs")}
        keys = {
            key for (key,) in connection.execute("select value from tags where key = 'rolekd.key'")
        }
    assert statuses <= {"FINISHED", "KILLED"}
    before = json.loads((FOLDER / "round.json").read_text())["kills_before"]
    assert {key for _, waiting in done[before:] for key in waiting} - keys == set()


def summary(log: Path) -> str:
    """Return the kills of a log, counted by stage and victim."""
    counts = Counter((kill.place, kill.victim) for kill, _ in read(log))
    rows = [["stage", *VICTIMS, "kills"]]
    for place in [*OTHERS, *TRAININGS]:
        row = [counts[place, victim] for victim in VICTIMS]
        rows.append([place, *map(str, row), str(sum(row))])
    return "\n" + "\n".join("".join(f"{cell:>24}" for cell in row) for row in rows) + "\n"
