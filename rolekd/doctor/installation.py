"""The installation: Python, packages, processor, accelerator, disk."""

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from rolekd import code, processes
from rolekd.doctor.finding import Finding
from rolekd.errors import few

if TYPE_CHECKING:
    from rolekd.params import Params

_LITTLE_SPACE = 2 * 2**30  # bytes; a run of digits leaves 30 MB, one of CIFAR-10 about 1 GB
_NAMED = 4


def python() -> Iterator[Finding]:
    """Compare the interpreter with the supported versions."""
    wanted = importlib.metadata.metadata("rolekd")["Requires-Python"]
    version = platform.python_version()
    if SpecifierSet(wanted).contains(version, prereleases=True):
        yield Finding("python", "ok", f"{version} in {sys.prefix}")
    else:
        yield Finding(
            "python", "fault", f"{version}, wanted {wanted}", "make setup PYTHON=python3.12"
        )


def environment_place(root: Path) -> Iterator[Finding]:
    """Check that the environment belongs to this folder."""
    other = code.other_checkout(root)
    own, remedy = root / ".venv", "make setup, then . .venv/bin/activate"
    named = _named_in(own / "bin" / "activate")
    if named is not None and named != own:
        found = f".venv was made for {named}: the project was moved or copied"
        yield Finding("environment", "fault", found, remedy)
    elif other is not None:
        yield Finding("environment", "fault", f"runs the rolekd of {other}", remedy)
    elif not _is_found_from(root.resolve().parent):
        found = f"import rolekd finds no package in {root.resolve().parent}, only this folder"
        yield Finding("environment", "note", found, "install it again: make setup")
    else:
        yield Finding("environment", "ok", f"{sys.prefix} runs the rolekd of this folder")


def _is_found_from(folder: Path) -> bool:
    """Return whether a Python started in a folder imports the package.

    A package installed as an import hook is hidden there by a clone named `rolekd`.
    """
    command = [sys.executable, "-c", "import rolekd, sys; sys.exit(rolekd.__file__ is None)"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def _named_in(script: Path) -> Path | None:
    """Return the environment for which an activation script was made; None: unknown."""
    with contextlib.suppress(OSError):
        text = script.read_text(encoding="utf-8", errors="surrogateescape")
        if found := re.search(r"""VIRTUAL_ENV=(["']?)(/.*)\1$""", text, re.MULTILINE):
            return Path(found[2])
    return None


def packages(root: Path) -> Iterator[Finding]:
    """Compare the installed packages with the requirements, and with the lock file."""
    named = [Requirement(line) for line in importlib.metadata.requires("rolekd") or ()]
    # extras, such as heic, are optional
    needed = [one for one in named if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [
        f"{one.name} {_installed(one.name) or 'missing'} (wanted {one.specifier or 'any'})"
        for one in needed
        if not one.specifier.contains(_installed(one.name) or "0", prereleases=True)
        or _installed(one.name) is None
    ]
    if wrong:
        yield Finding("packages", "fault", few(wrong, _NAMED), "make setup")
    else:
        yield Finding("packages", "ok", f"{len(needed)} requirements are met")
    lock = root / "requirements.lock"
    if lock.exists():
        yield _against_lock(lock)


def _against_lock(lock: Path) -> Finding:
    lines = lock.read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line.rstrip("\\ ")) for line in lines if line[:1].isalnum()]
    wanted = [one for one in pinned if one.marker is None or one.marker.evaluate()]
    other = [
        f"{one.name} {_installed(one.name) or 'missing'} (locked {str(one.specifier)[2:]})"
        for one in wanted
        if not one.specifier.contains(_installed(one.name) or "0", prereleases=True)
    ]
    if other:
        return Finding("requirements.lock", "note", f"differs: {few(other, _NAMED)}", "make setup")
    return Finding(
        "requirements.lock", "ok", f"all {len(wanted)} packages have their locked versions"
    )


def threads(params: "Params") -> Iterator[Finding]:
    """Compare the cores that a search will use with those that this process may use."""
    cores = processes.cores()
    own = params.search.threads_per_worker
    wanted = own * (1 if params.machine.workers == "auto" else params.machine.workers)
    found = f"{cores} cores; machine.workers {params.machine.workers}, threads of a search {own}"
    found += f", of a training {params.threads}"
    if limit := os.environ.get("OMP_NUM_THREADS"):
        found += f"; OMP_NUM_THREADS={limit}"
    if max(wanted, params.threads) > cores:
        yield Finding(
            "threads",
            "note",
            found,
            "set machine.workers to auto; more workers only wait",
        )
    else:
        yield Finding("threads", "ok", found)


def accelerator() -> Iterator[Finding]:
    """Ask torch for a GPU."""
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        name = torch.cuda.get_device_name()
        yield Finding("GPU", "ok", f"{name}, {memory:.0f} GiB, torch {torch.__version__}")
    elif Path("/proc/driver/nvidia").exists():
        yield Finding(
            "GPU",
            "fault",
            f"there is a GPU driver, but torch {torch.__version__} sees no device",
            "compare torch.version.cuda with nvidia-smi's CUDA version, and check "
            "CUDA_VISIBLE_DEVICES",
        )
    else:
        yield Finding("GPU", "ok", "none; everything runs on the CPU")


def disk(root: Path) -> Iterator[Finding]:
    """Check the free space for outputs, DVC's cache and the stores."""
    free = shutil.disk_usage(root).free
    found = f"{free / 2**30:.1f} GiB free"
    if free < _LITTLE_SPACE:
        yield Finding(
            "disk", "fault", found, "free some; `dvc gc -w` removes unused files from the cache"
        )
    else:
        yield Finding("disk", "ok", found)


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
