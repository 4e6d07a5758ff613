"""What cannot be read is refused and stays; only what is not there is made."""

import contextlib
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolekd.errors import RunError
from rolekd.track import sqlite, store


@pytest.fixture
def database(tmp_path: Path, fresh_store: Path) -> Path:
    return Path(shutil.copyfile(fresh_store, tmp_path / "mlflow.db"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, fresh_store: Path) -> None:
    """Short waits, and tables that are copied instead of made."""
    monkeypatch.setattr(sqlite, "SECONDS_FOR_A_LOCK", 0.05)
    monkeypatch.setattr(store, "_make_tables", lambda fresh, _: shutil.copyfile(fresh_store, fresh))


def initialise(path: Path) -> None:
    store.initialise(f"sqlite:///{path}")


def is_whole(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def other_tables(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE others (number)")


def bad_name(path: Path) -> None:
    """Spoil the letters of a table's name, which SQLite's message repeats."""
    content = path.read_bytes()
    for name, spoiled in (
        (b"tablerunsruns", b"tabler\x9dnsruns"),
        (b'TABLE "runs"', b'TABXE "runs"'),
    ):
        assert name in content
        content = content.replace(name, spoiled)
    path.write_bytes(content)


def no_version(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM alembic_version")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def cut(size: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[:size]) and None


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut(100_000), "is damaged"),
        (cut(16), "is damaged"),
        (cut(1), "does not have MLflow's tables"),
        (lambda path: path.write_bytes(random.Random(0).randbytes(100_000)), "is damaged"),
        (lambda path: path.write_bytes(bytes(100_000)), "is damaged"),
        (other_tables, "does not have MLflow's tables"),
        (bad_name, "is damaged"),
        (no_version, "does not have MLflow's tables"),
    ],
    ids=[
        "cut",
        "cut to a header",
        "one byte",
        "random",
        "zeros",
        "another's",
        "a name",
        "no version",
    ],
)
def test_what_is_there_is_refused_in_a_line_and_stays(
    database: Path, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(database)
    before = database.read_bytes()
    with pytest.raises(
        RunError, match=rf"mlflow\.db: {told}.*; nothing was changed: .*move it away"
    ):
        initialise(database)
    assert database.read_bytes() == before


def test_a_folder_in_its_place_is_refused(database: Path) -> None:
    folder(database)
    with pytest.raises(RunError, match=r"mlflow\.db: is not a file"):
        initialise(database)


def test_a_file_that_may_not_be_looked_at_is_not_taken_for_missing(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:  # tests may run as root, whom no permission stops
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(RunError, match=r"mlflow\.db: cannot be read \(Permission denied\)"):
        initialise(database)


def test_a_lock_is_waited_for_and_then_told(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = database.read_bytes()
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RunError, match="another process has locked it"):
            initialise(database)
        monkeypatch.setattr(sqlite, "SECONDS_FOR_A_LOCK", 60.0)
        command = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1])\n"
        command += "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); time.sleep(0.5)"
        holder.execute("COMMIT")
    with subprocess.Popen(
        [sys.executable, "-c", command, str(database)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        initialise(database)
    assert database.read_bytes() == before


@pytest.mark.parametrize("empty", [False, True])
def test_only_what_is_missing_or_empty_is_made(tmp_path: Path, empty: bool) -> None:
    path = tmp_path / "mlflow.db"
    if empty:
        path.touch()
    initialise(path)
    assert sqlite.has_tables(path)
    assert is_whole(path)
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


def test_what_appeared_meanwhile_is_left_alone(
    tmp_path: Path, fresh_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"

    def slow(fresh: Path, _: Path) -> None:
        shutil.copyfile(fresh_store, fresh)
        shutil.copyfile(fresh_store, path)  # MLflow's server made it, which knows no lock of ours
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("INSERT INTO experiments (experiment_id, name) VALUES (9, 'x')")

    monkeypatch.setattr(store, "_make_tables", slow)
    initialise(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM experiments WHERE experiment_id = 9").fetchall()


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
def test_a_log_whose_database_is_gone_keeps_its_pages(
    database: Path, tmp_path: Path, ending: str
) -> None:
    """SQLite itself deletes both as soon as it opens the empty file."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as writer:
        if ending == "-wal":
            writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("PRAGMA cache_size=1")  # so that pages are written before the commit
        writer.execute("BEGIN")
        writer.execute("CREATE TABLE rest (content)")
        for _ in range(50):
            writer.execute("INSERT INTO rest VALUES (randomblob(4000))")
        (tmp_path / "copy").mkdir()
        log = tmp_path / "copy" / f"mlflow.db{ending}"
        shutil.copyfile(f"{database}{ending}", log)
    before = log.read_bytes()
    with pytest.raises(RunError, match=f"mlflow.db{ending} holds changes to it; put the database"):
        initialise(tmp_path / "copy" / "mlflow.db")
    assert log.read_bytes() == before


FILLER = """
import sys, sqlite3
from pathlib import Path
from rolekd.track import sqlite
real = sqlite._open
class Slow:
    def __init__(self, connection):
        self.connection = connection
    def execute(self, statement):
        if statement == "COMMIT":
            print("ready", flush=True); sys.stdin.read()
        return self.connection.execute(statement)
    def close(self):
        self.connection.close()
sqlite._open = lambda path, mode="rw": Slow(real(path, mode)) if mode == "rwc" else real(path, mode)
sqlite.copy_if_empty(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_kill_while_it_is_filled_leaves_it_to_the_next(tmp_path: Path, fresh_store: Path) -> None:
    path = tmp_path / "mlflow.db"
    with subprocess.Popen(
        [sys.executable, "-c", FILLER, str(path), str(fresh_store)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
    assert Path(f"{path}-journal").exists()
    initialise(path)
    assert sqlite.has_tables(path)
    assert is_whole(path)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_flipped_bytes_are_never_written_over(
    data: st.DataObject, tmp_path: Path, fresh_store: Path
) -> None:
    content = bytearray(fresh_store.read_bytes())
    places = st.integers(0, 200) | st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=20)):
        content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    with contextlib.suppress(RunError):
        initialise(path)
    assert path.read_bytes() == content


def test_the_whole_of_a_database_is_checked(database: Path) -> None:
    sqlite.check(database)
    content = bytearray(database.read_bytes())
    for place in range(len(content) // 2, len(content), 512):
        content[place] ^= 0xFF
    database.write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        sqlite.check(database)


def test_a_database_server_is_asked_once_and_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = time.monotonic()
    with pytest.raises(RunError, match=r"//\*\*\*@127.0.0.1:9/x: does not answer \(.*; check the"):
        store.initialise("postgresql://me:hidden@127.0.0.1:9/x")
    assert time.monotonic() - begin < 30  # MLflow's own tries take 100 s
