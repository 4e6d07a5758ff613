"""A copy of the project at a tiny budget, in which whole stages run as users run them."""

import contextlib
import functools
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import yaml

from rolekd.telemetry import OFF

ROOT = Path(__file__).parents[2]
GUARDED = ROOT / "tests/support/guarded"
_OURS = ("MLFLOW_", "DVC_", "PYTEST_", "XDG_", "MPLCONFIGDIR", "TORCHINDUCTOR_", "TRITON_")
SMALL = {
    "threads": 1,
    "search": {
        "population": 2,
        "epochs": 2,
        "interval_epochs": 1,
        "proposals": 1,
        "ladder": ["all-3"],
        "confirm": {"rungs": [[4, 2]]},
    },
    "teacher": {"model": {"width": 4}, "training": {"epochs": 1}},
    "student": {"model": {"width": 4}, "training": {"epochs": 1}},
    "compare": {"seeds": 2},
    "machine": {"workers": 1},
}


# of the default run; each costs seconds, and these are all kinds
ARMS = ("plain", "kd-trivialaugment", "kd-shared", "kd-rolewise")


class Project:
    """A project folder with its own git, DVC and MLflow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder.with_name(f"{folder.name}-home")
        self.attempts = folder.with_name(f"{folder.name}-attempts")  # to reach what is elsewhere
        self.traces = folder.with_name(f"{folder.name}-traces")
        temporary = folder.with_name(f"{folder.name}-tmp")
        for made in (self.home, self.traces, temporary):
            made.mkdir(exist_ok=True)
        # pytest's own settings must not reach the stages, nor a run of MLflow's that calls us, nor
        # the folders that matplotlib and PyTorch were given in this process
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_OURS) and name not in OFF
        } | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{folder}{os.pathsep}{GUARDED}",
            "HOME": str(self.home),
            "TMPDIR": str(temporary),
            # DVC's index of the project, which it keeps beside all projects otherwise
            "DVC_SITE_CACHE_DIR": str(folder / ".dvc/tmp/site"),
            "GUARD_LOG": str(self.attempts),
            "GUARD_FOLDERS": os.pathsep.join(map(str, (folder, temporary))),
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org",
        }

    def run(self, *command: str, code: int = 0, **extra: str) -> str:
        """Run a command; return what it printed, standard error included."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | extra,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{command} gave {done.returncode}:\n{done.stdout}"
        return done.stdout

    def run_with(self, change: dict, *command: str, code: int = 0) -> str:
        """Run a command with changed parameters; put them back."""
        kept = (self.folder / "params.yaml").read_text()
        self.set(**change)
        try:
            return self.run(*command, code=code)
        finally:
            (self.folder / "params.yaml").write_text(kept)

    def traced(self, *command: str) -> list[str]:
        """Return the command so that every connection of its processes is written down."""
        file = self.traces / str(len(list(self.traces.iterdir())))
        return [*_TRACE, str(file), *command] if can_trace() else list(command)

    def reached(self) -> list[str]:
        """Return the connections to other hosts that any process tried, and what Python wrote."""
        found = self.attempts.read_text().splitlines() if self.attempts.exists() else []
        for file in self.traces.iterdir():
            found += [line for line in file.read_text().splitlines() if _leaves(line)]
        return found

    def left(self) -> list[str]:
        """Return what any process, native code included, left below HOME."""
        return [str(path.relative_to(self.home)) for path in self.home.rglob("*")]

    def set(self, **sections: object) -> None:
        """Change params.yaml."""
        path = self.folder / "params.yaml"
        path.write_text(
            yaml.safe_dump(merged(yaml.safe_load(path.read_text()), sections), sort_keys=False)
        )


_TRACE = (
    "strace",
    "-f",
    "--seccomp-bpf",
    "-qq",
    "-e",
    "trace=connect,sendto,sendmsg,sendmmsg",
    "-o",
)


@functools.cache
def can_trace() -> bool:
    """Return whether connections of native code can be seen here."""
    try:
        return subprocess.run([*_TRACE, "/dev/null", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def _leaves(line: str) -> bool:
    """Return whether a line of strace is a connection to another host, or asks a name server."""
    address = re.search(r'sin6?_port=htons\((\d+)\).*?"([\da-f.:]+)"', line)
    return address is not None and (
        address[1] == "53" or not address[2].startswith(("127.", "::1", "0.0.0.0"))
    )


def merged(base: dict, changes: dict) -> dict:
    """Return keys with others laid over them, section by section."""
    both = dict(base)
    for key, value in changes.items():
        old = both.get(key)
        both[key] = (
            merged(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
        )
    return both


def _copy_compiled(source: Path, copy: Path) -> None:
    """Bring what Python and numba compiled, which they take where the sources are as old.

    Every project would compile it anew, in ten seconds of its first stages.
    """
    for cache in source.rglob("__pycache__"):
        place = copy / cache.relative_to(source)
        if place.parent.is_dir():
            # what another process writes at this moment may vanish
            with contextlib.suppress(shutil.Error, FileNotFoundError):
                shutil.copytree(cache, place, dirs_exist_ok=True)


def make_project(folder: Path, store: Path) -> Project:
    """Copy what `git clone` would bring of the pipeline, and shrink its parameters."""
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in tracked:
        # dvc.lock is of a run here, with other arms
        if name.startswith(("tests/", "results/", "dvc.lock")) or not (ROOT / name).exists():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    for package in ("pipelines", "rolekd"):
        _copy_compiled(ROOT / package, folder / package)
    project = Project(folder)
    project.set(**SMALL)
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["compare"]["arms"] = {name: values["compare"]["arms"][name] for name in ARMS}
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    shutil.copy(store, folder / "mlflow.db")
    project.run("git", "init", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "start")
    return project


def copied(project: Project, folder: Path) -> Project:
    """Copy a project, with what is beside it, to an empty folder."""
    beside = project.folder.parent
    shutil.copytree(beside, folder, dirs_exist_ok=True, symlinks=True)
    for database in folder.rglob("*.db"):
        _replace(database, str(beside), str(folder))
    return Project(folder / project.folder.name)


def _replace(database: Path, old: str, new: str) -> None:
    """Replace a text wherever it is in a database."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            for _, column, *_ in connection.execute(f"PRAGMA table_info('{table}')").fetchall():
                connection.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", :old, :new) '
                    f'WHERE instr("{column}", :old)',
                    {"old": old, "new": new},
                )
