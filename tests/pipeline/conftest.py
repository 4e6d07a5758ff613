"""A copy of the project at a tiny budget, in which whole stages run as users run them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMALL = {
    "threads": 1,
    "search": {"population": 2, "epochs": 2, "interval_epochs": 1},
    "teacher": {"model": {"width": 4}, "training": {"epochs": 1}},
    "student": {"model": {"width": 4}, "training": {"epochs": 1}},
    "compare": {"seeds": 2},
    "machine": {"workers": 1},
}


class Project:
    """A project folder with its own git, DVC and MLflow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # pytest's own settings must not reach the stages, nor a run of MLflow's that calls us
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLFLOW_", "DVC_", "PYTEST_"))
        } | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "DVC_NO_ANALYTICS": "1",
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

    def set(self, **sections: object) -> None:
        """Change params.yaml."""
        path = self.folder / "params.yaml"
        path.write_text(
            yaml.safe_dump(_merged(yaml.safe_load(path.read_text()), sections), sort_keys=False)
        )


def _merged(base: dict, changes: dict) -> dict:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = (
            _merged(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
        )
    return merged


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's empty tables, which take seconds to make."""
    from rolekd.track.store import initialise

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    initialise(f"sqlite:///{path}")
    return path


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
        if name.startswith(("tests/", "results/")) or not (ROOT / name).exists():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    project = Project(folder)
    project.environment["PYTHONPATH"] = str(folder)
    project.set(**SMALL)
    shutil.copy(store, folder / "mlflow.db")
    project.run("git", "init", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "start")
    return project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Project:
    """A project in which `dvc repro` has run once; tests must leave it as they find it."""
    made = make_project(tmp_path_factory.mktemp("project"), store)
    made.output = made.run("dvc", "repro")
    return made


@pytest.fixture
def fresh(tmp_path: Path, store: Path) -> Project:
    """A project in which nothing has run."""
    return make_project(tmp_path, store)
