"""The project's files: raw data, outputs, DVC's cache, stale stages, leftovers."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolekd import files, processes
from rolekd.doctor.finding import Finding
from rolekd.errors import RunError, few, reason
from rolekd.outputs import Outputs, PrepareMetrics

if TYPE_CHECKING:
    from rolekd.params import Params

_NAMED = 3


def repository(root: Path) -> Iterator[Finding]:
    """Check that DVC finds its git repository."""
    configured = root / ".dvc" / "config"
    if not configured.exists():
        return
    if "no_scm" in configured.read_text(encoding="utf-8", errors="replace"):
        yield Finding(
            "git", "note", "DVC works without git, but not `dvc exp` and `dvc params diff`"
        )
        return
    begin = "git init && git add . && git commit -m 'the project as it came'"
    code, told = _git(root, "rev-parse", "--verify", "HEAD")
    if code == 0:
        yield Finding("git", "ok", f"at commit {told[:12]}")
    elif code is None:
        yield Finding("git", "fault", "git is not installed; DVC needs it", "install git")
    elif "dubious ownership" in told:
        remedy = f"git config --global --add safe.directory {root}"
        yield Finding(
            "git", "fault", "git refuses the repository: it belongs to another user", remedy
        )
    elif _git(root, "rev-parse", "--git-dir")[0] == 0:
        yield Finding("git", "note", "no commits yet; `dvc exp` needs one", begin[12:])
    else:
        yield Finding("git", "fault", "not a git repository; DVC needs one", begin)


def _git(root: Path, *command: str) -> tuple[int | None, str]:
    """Return git's exit status, None if git is missing; and its output."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *command], capture_output=True, text=True, check=False
        )
    except OSError:
        return None, ""
    return done.returncode, (done.stdout or done.stderr).strip()


def data(root: Path, params: "Params") -> Iterator[Finding]:
    """Check that the raw data exist, and that the prepared data are unchanged."""
    outputs = Outputs(root / "outputs")
    raw, prepared = root / params.data.path, outputs.data
    if not raw.exists():
        yield missing_raw_data(params)
    else:
        yield Finding("raw data", "ok", f"{params.data.path} is there")
    metrics = outputs.metrics("prepare")
    if not (prepared / "dataset.json").exists() or not metrics.exists():
        yield Finding("prepared data", "note", "not there yet", "dvc repro prepare")
        return
    from rolekd.data import dataset as datasets

    digest, wanted = datasets.load(prepared).digest, PrepareMetrics.load(metrics).data_digest
    if digest == wanted:
        yield Finding("prepared data", "ok", f"digest {digest[:12]}")
    else:
        found = f"digest {digest[:12]}, but prepare wrote {wanted[:12]}"
        yield Finding("prepared data", "fault", found, "dvc repro -f prepare")


def missing_raw_data(params: "Params") -> Finding:
    """Say where to get the data of the params' source."""
    from rolekd.sources import download

    source, path = params.data.source, params.data.path
    ways = [f"dvc pull {path}, if you versioned it", "put the data there (docs/own-data.md)"]
    if source in download.NAMES:
        ways = [f"rolekd download {source} --to {path}", "put the official files there"]
    return Finding("raw data", "fault", f"{path} is missing", "; or ".join(ways))


def changed_outputs(root: Path) -> Iterator[Finding]:
    """Ask DVC which outputs have changed, and which are missing from its cache."""
    if not (root / "dvc.lock").exists():
        yield Finding("outputs", "note", "nothing has run yet", "make repro")
        return
    found = _dvc(root, "data", "status")
    changed = found.get("uncommitted", {})
    wrong = sorted(path for kind in changed if kind != "added" for path in changed[kind])
    if wrong:
        yield Finding(
            "outputs",
            "note",
            f"changed since DVC wrote them: {few(wrong, _NAMED)}",
            "dvc checkout, or dvc repro",
        )
    else:
        yield Finding("outputs", "ok", "every file has the hash that dvc.lock names")
    lost = found.get("not_in_cache", [])
    if lost:
        yield Finding("DVC cache", "note", f"lacks {few(lost, _NAMED)}", "dvc pull, or dvc repro")
    else:
        yield Finding("DVC cache", "ok", "holds every output")


def stages(root: Path) -> Iterator[Finding]:
    """Ask DVC which stages would run again."""
    if (root / "dvc.lock").exists():
        stale = sorted(_dvc(root, "status"))
        if stale:
            yield Finding("stages", "note", f"stale: {few(stale, _NAMED)}", "dvc repro")
        else:
            yield Finding("stages", "ok", "all up to date")


def leftovers(root: Path) -> Iterator[Finding]:
    """Look for remains of killed processes: locks, states to resume, unfinished files."""
    folder = root / ".rolekd" / "state"
    # unlike glob, this fails if the folder cannot be read
    entries = sorted(folder.iterdir()) if folder.exists() else []
    held = [path for path in entries if path.suffix == ".lock"]
    running = {path.with_suffix("") for path in held if processes.is_held(path)}
    locks = [path for path in held if path.with_suffix("") not in running]
    states = [path for path in entries if path.is_dir() and path not in running]
    unfinished = [] if running else files.unfinished(root / "outputs")
    if running:
        yield Finding("running", "note", few(sorted(path.name for path in running), _NAMED))
    if states:
        days = max((time.time() - path.stat().st_mtime) / 86400 for path in states)
        yield Finding(
            "states",
            "note",
            f"{len(states)} of stopped stages, the oldest {days:.0f} days old: "
            f"{few([path.name for path in states], _NAMED)}",
            f"dvc repro resumes those that still fit; otherwise rm -r {states[0]}",
        )
    rest = [*locks, *unfinished]
    if rest:
        names = few([str(path.relative_to(root)) for path in rest], _NAMED)
        yield Finding(
            "leftovers", "note", f"of killed processes: {names}", "rm -r; they are harmless"
        )
    if not (states or rest):
        yield Finding("leftovers", "ok", "none")


def _dvc(root: Path, *command: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *command, "--json"],
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        told = f"dvc {' '.join(command)}: {reason(done.stderr)}"
        raise RunError(f"{told}; run it to see more") from error
