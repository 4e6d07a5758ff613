"""Where a run came from: commit, lock file, DVC's stage and experiment, versions, machine."""

import functools
import getpass
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rolekd import files, processes

_PACKAGES = ("rolekd", "torch", "numpy", "optuna", "mlflow", "dvc", "onnx", "onnxruntime")

# a run has the parameters; hashes of inputs and data say what DVC's files do
_RECORDED = (":!params.yaml", ":!dvc.lock", ":!*.dvc")

# environment variable that DVC sets for a stage's process -> tag of the run
_DVC_TAGS = {
    "DVC_STAGE": "dvc.stage",
    "DVC_EXP_NAME": "dvc.experiment",
    "DVC_EXP_BASELINE_REV": "dvc.baseline",
}


@dataclass(frozen=True)
class Provenance:
    """What must be the same for a run to be the same.

    Attributes:
        commit: git commit of the work tree; empty outside git.
        dirty: whether the work tree differs from it, but for files whose contents are recorded
            elsewhere: parameters, and what DVC knows; None: git cannot tell.
        lock: SHA-256 of requirements.lock; empty where there is none.
        dvc: the tags of DVC's stage, experiment and baseline revision, as far as they are set.
        versions: Python's and the main packages' versions.
        machine: processor, cores, memory, accelerator, operating system.
        user: who ran it.
    """

    commit: str
    dirty: bool | None
    lock: str
    dvc: dict[str, str]
    versions: dict[str, str]
    machine: dict[str, str]
    user: str

    def to_json(self) -> dict[str, object]:
        """Return the values as a JSON object."""
        return asdict(self)

    def describe(self) -> dict[str, dict[str, str]]:
        """Return heading -> facts for people."""
        states = {True: "with uncommitted changes", False: "clean", None: "changes unknown"}
        state = states[self.dirty]
        code = {
            "git commit": f"{self.commit}, {state}" if self.commit else "not in a git checkout",
            "requirements.lock, SHA-256": self.lock or "none",
            **self.dvc,
        }
        return {"Code": code, "Versions": self.versions, "Machine": self.machine}

    @property
    def changes(self) -> str:
        """Whether there are uncommitted changes: true, false or unknown."""
        return "unknown" if self.dirty is None else str(self.dirty).lower()

    def tags(self) -> dict[str, str]:
        """Return the tags of an MLflow run, of what its runs are searched by.

        Versions and machine are in its artifact provenance.json.
        """
        tags = {
            "mlflow.user": self.user,
            "mlflow.source.name": _script(),
            "mlflow.source.type": "LOCAL",
            "git.dirty": self.changes,
            "input.requirements.lock": self.lock,
            **self.dvc,
        }
        if self.commit:
            tags["mlflow.source.git.commit"] = self.commit
        return {key: value for key, value in tags.items() if value}


def collect(folder: Path | None = None) -> Provenance:
    """Look around in `folder` (default: the current one), about 30 ms with git."""
    folder = folder or Path.cwd()
    lock = folder / "requirements.lock"
    changes = _git(folder, "status", "--porcelain", "--", ".", *_RECORDED)
    return Provenance(
        commit=_git(folder, "rev-parse", "HEAD") or "",
        dirty=None if changes is None else bool(changes),
        lock=files.sha256(lock) if lock.exists() else "",
        dvc={tag: os.environ[name] for name, tag in _DVC_TAGS.items() if os.environ.get(name)},
        versions=_versions(),
        machine=_machine(),
        user=user(),
    )


def input_tags(paths: Iterable[Path | str]) -> dict[str, str]:
    """Return the tag `input.<path>` with the SHA-256 of each input file or folder."""
    return {f"input.{path}": files.digest_path(path) for path in paths}


@functools.cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@functools.cache
def _machine() -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    machine = {
        "processor": processor(),
        "cores": str(processes.cores()),
        "memory": f"{memory / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
    }
    torch = sys.modules.get("torch")  # not imported for this alone: it costs seconds
    if torch is not None and torch.cuda.is_available():
        machine["accelerator"] = torch.cuda.get_device_name()
    return machine


def processor() -> str:
    """Return the processor's name."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, None where it fails: no git, no repository, or a damaged one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _script() -> str:
    script = Path(sys.argv[0]) if sys.argv else Path("python")
    return "/".join(script.parts[-2:])


def user() -> str:
    """Return the name of the user, or the number where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
