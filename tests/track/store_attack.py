"""MLflow's database under starts of four processes at once, attacked at random.

    python tests/track/store_attack.py --starts 1000 --seed 13

Before each start the database is left alone, locked, cut, flipped, overwritten, emptied, removed,
or removed with its journal left; in some starts a process is killed. What was there must be there
afterwards, to the byte where it was spoiled; every run that a process recorded must be in the
database at the end, once. Prints counts as JSON; exit code 1 where something was lost.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import mlflow  # noqa: F401  # once, before the forks: it takes seconds

from rolekd.errors import RunError
from rolekd.params import TrackParams
from rolekd.track import runs, sqlite, store
from rolekd.track.sync import sync

PROCESSES = 4
RUNS_BEFORE = 54
OK, REFUSED, UNEXPECTED = 0, 3, 4
SPOILED = ("cut", "flipped", "overwritten", "journal left")
ATTACKS = (*SPOILED, "left alone", "locked", "missing", "empty")


def forked(action: Callable[[], int]) -> int:
    """Call `action` in a process of its own; return its number."""
    pid = os.fork()
    if pid:
        return pid
    code = UNEXPECTED
    try:
        code = action()
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def names(path: Path) -> collections.Counter[str]:
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        return collections.Counter(name for (name,) in connection.execute("SELECT name FROM runs"))


class Attack:
    """The project that is attacked, and what must be in it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.path = folder / "mlflow.db"
        self.journal = folder / "mlflow.db-journal"
        self.uri = f"sqlite:///{self.path}"
        self.fresh = folder / "fresh.db"
        self.recorded: set[str] = set()
        self.counts: collections.Counter[str] = collections.Counter()
        store._make_tables(self.fresh, self.path)
        store._make_tables = lambda fresh, _: shutil.copyfile(self.fresh, fresh)
        sqlite.SECONDS_FOR_A_LOCK = 0.2

    def record(self, name: str) -> int:
        with runs.start(name, experiment="e", track=TrackParams(uri=self.uri)) as run:
            run.log_metrics({"accuracy": 0.5})
        return OK

    def begin(self) -> None:
        """Record the runs that must never be fewer."""

        def many() -> int:
            with runs.start("before 0", experiment="e", track=TrackParams(uri=self.uri)) as run:
                for number in range(1, RUNS_BEFORE):
                    run.child(f"before {number}").close()
            return OK

        store.initialise(self.uri)
        assert os.waitpid(forked(many), 0)[1] == 0
        self.recorded = {f"before {number}" for number in range(RUNS_BEFORE)}

    def start(self, number: int) -> None:
        """Attack, start all processes at once, and look at what they left."""
        attack = self.random.choice(ATTACKS)
        saved = self.path.read_bytes()
        holder = self.spoil(attack, saved)
        left = {path: path.read_bytes() for path in (self.path, self.journal) if path.exists()}
        healthy = attack in ("left alone", "locked")
        recording = healthy and self.random.random() < 0.15
        codes = self.run_all(number, recording)
        if holder:
            os.waitpid(holder, 0)
        for code in codes:
            self.counts[f"{attack}: {code}"] += 1
            assert code != "unexpected", (number, attack)
        if attack in SPOILED:
            assert all(path.read_bytes() == content for path, content in left.items()), number
            if attack != "flipped":  # flipped contents of a record are not the structure's
                assert "ok" not in codes, (number, attack)
        if attack in ("missing", "empty"):
            assert "refused" not in codes, number
            sqlite.check(self.path)
            assert sqlite.has_tables(self.path)
        if not healthy:
            self.journal.unlink(missing_ok=True)
            self.path.write_bytes(saved)
        found = names(self.path)
        lost = {name for name in self.recorded if found[name] != 1}
        waiting = {name for name in lost if not name.startswith("before") and not found[name]}
        assert lost == waiting, (number, attack, lost)  # those are in the spool

    def run_all(self, number: int, recording: bool) -> list[str]:
        gate, opened = os.pipe()

        def work(name: str) -> int:
            os.close(opened)
            os.read(gate, 1)
            if recording:
                return self.record(name)
            try:
                store.initialise(self.uri)
            except RunError as error:
                assert "\n" not in str(error)
                return REFUSED
            return OK

        given = [f"start {number}.{process}" for process in range(PROCESSES)]
        pids = [forked(lambda name=name: work(name)) for name in given]  # type: ignore[misc]
        os.close(gate)
        os.close(opened)
        if self.random.random() < 0.2:
            time.sleep(self.random.uniform(0, 2.0 if recording else 0.05))
            os.kill(self.random.choice(pids), signal.SIGKILL)
        told = []
        for name, pid in zip(given, pids, strict=True):
            status = os.waitpid(pid, 0)[1]
            if os.WIFSIGNALED(status):
                told.append("killed")
                continue
            code = os.WEXITSTATUS(status)
            told.append({OK: "ok", REFUSED: "refused"}.get(code, "unexpected"))
            if recording and code == OK:
                self.recorded.add(name)
        return told

    def spoil(self, attack: str, saved: bytes) -> int | None:
        """Do what the attack says; return the process that holds a lock."""
        content = bytearray(saved)
        match attack:
            case "cut":
                self.path.write_bytes(content[: self.random.randrange(1, len(content))])
            case "flipped":
                most = self.random.choice([100, 4096, len(content)])
                for _ in range(self.random.randint(1, 50)):
                    content[self.random.randrange(most)] ^= self.random.randint(1, 255)
                self.path.write_bytes(content)
            case "overwritten":
                self.path.write_bytes(self.random.randbytes(self.random.randrange(1, len(content))))
            case "journal left":
                self.leave_journal()
            case "missing":
                self.path.unlink()
            case "empty":
                self.path.write_bytes(b"")
            case "locked":
                return self.lock(self.random.uniform(0.05, 0.5))
        return None

    def lock(self, seconds: float) -> int:
        ready, locked = os.pipe()

        def hold() -> int:
            connection = sqlite3.connect(self.path, isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE")
            os.close(locked)
            time.sleep(seconds)
            connection.close()
            return OK

        pid = forked(hold)
        os.close(locked)
        os.read(ready, 1)
        os.close(ready)
        return pid

    def leave_journal(self) -> None:
        """Leave what a process does that dies while it writes, whose database is then lost."""

        def die() -> int:
            connection = sqlite3.connect(self.path, isolation_level=None)
            connection.execute("PRAGMA cache_size=1")
            connection.execute("BEGIN")
            connection.execute("UPDATE runs SET name = name || '!'")
            connection.execute("CREATE TABLE rest AS SELECT randomblob(100000)")
            os._exit(OK)

        os.waitpid(forked(die), 0)
        if self.random.random() < 0.5:
            self.path.unlink()
        else:
            self.path.write_bytes(b"")

    def end(self) -> None:
        """Send what waits in spools; then every run must be there, once, in a whole database."""
        sqlite.SECONDS_FOR_A_LOCK = 20.0
        outcomes = sync(store.spool_folder(self.folder), self.uri)
        assert not [outcome.problem for outcome in outcomes if outcome.problem], outcomes
        found = names(self.path)
        assert self.recorded <= found.keys(), self.recorded - found.keys()
        assert max(found.values()) == 1, found.most_common(3)
        sqlite.check(self.path)
        self.counts["runs recorded and found"] = len(self.recorded)
        self.counts["spools sent at the end"] = len(outcomes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=13)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("params.yaml").write_text("{}\n")
        attack = Attack(Path(folder).resolve(), options.seed)
        attack.begin()
        for number in range(options.starts):
            attack.start(number)
        attack.end()
        os.chdir("/")
    counts = dict(sorted(attack.counts.items()))
    sys.stdout.write(json.dumps({"starts": options.starts, "seed": options.seed, **counts}) + "\n")


if __name__ == "__main__":
    main()
