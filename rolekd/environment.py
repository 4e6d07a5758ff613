"""Checks that interpreter and modules are those that rolekd was installed with.

Asked before anything else is imported, so: standard library only, and nothing that the last few
versions of Python do not know.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType, TracebackType

_NEEDED = ("click", "numpy")  # by every command
_OURS = {"rolekd", "pipelines", "benchmarks", "docs", "tests"}  # others install such names too
_REMEDY = "activate the project's environment (make setup, then . .venv/bin/activate)"


def check() -> None:
    """End the process with one line if another interpreter or module would be used."""
    sys.excepthook = _tell
    if problem := problem_of(sys.path):
        sys.stderr.write(f"error: {problem}\n")
        sys.exit(2)


def give_home() -> None:
    """Use / as the home of a user without a name and HOME, as container engines do.

    MLflow cannot be imported where there is none.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.sep


def problem_of(path: list[str]) -> str:
    """Return what is wrong with the modules that a search path leads to; empty: nothing.

    A file of the current folder, which `python -m` looks into first, can hide what is installed,
    and what Python itself brings.
    """
    here, rest = Path.cwd(), [place for place in path if place and Path(place) != Path.cwd()]
    if len(rest) < len(path):
        for name, file in _modules_in(here):
            hidden = None if name in _OURS else PathFinder.find_spec(name, rest)
            if hidden is not None and hidden.origin and not _is_same(Path(hidden.origin), file):
                return f"{file}: hides the module {name} of {hidden.origin}; give it another name"
    for name in _NEEDED:
        if PathFinder.find_spec(name, path) is None:
            return f"{sys.executable}: has no module {name}; {_REMEDY}"
    return ""


def of_module(error: BaseException) -> str | None:
    """Return in one line what a module that is missing or another one fails with; None: no such."""
    if isinstance(error, ModuleNotFoundError) and not _is_of_another(error.name):
        return f"{sys.executable}: has no module {error.name}; {_REMEDY}"
    if isinstance(error, ModuleNotFoundError):
        place = sys.modules[_parent(error.name)].__file__
    elif isinstance(error, ImportError) and error.path:
        place = error.path
    elif isinstance(error, AttributeError) and isinstance(getattr(error, "obj", None), ModuleType):
        place = getattr(error.obj, "__file__", None) or "a folder without modules"
    else:
        return None
    reason = " ".join(str(error).split())
    return f"{place}: is not the right module ({reason}); look for it in PYTHONPATH"


def _parent(name: str | None) -> str:
    return (name or "").rpartition(".")[0]


def _is_of_another(name: str | None) -> bool:
    """Return whether a module is missing because the one that it belongs to has no others in it."""
    parent = sys.modules.get(_parent(name))
    return parent is not None and not hasattr(parent, "__path__")


def _modules_in(folder: Path) -> list[tuple[str, Path]]:
    """Return the names of the modules that a folder offers to an import, and their files."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    files = [(entry.name.partition(".")[0], entry) for entry in entries if entry.suffix == ".py"]
    packages = [(entry.name, entry / "__init__.py") for entry in entries]
    return [(name, file) for name, file in files + packages if file.is_file()]


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell of an import that failed in one line; where somebody looks for a fault, in full."""
    message = of_module(error)
    if message is None or os.environ.get("ROLEKD_DEBUG"):
        sys.__excepthook__(kind, error, trace)
    else:
        sys.stderr.write(f"error: {message}\n")
