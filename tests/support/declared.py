"""Packages that are installed, as far as `importlib.metadata` can see."""

import importlib
import sys
from pathlib import Path

import pytest


def declare(
    folder: Path, monkeypatch: pytest.MonkeyPatch, group: str, points: dict[str, str], source: str
) -> None:
    """Install a distribution with the module `own`, and entry points: name -> "own:attribute"."""
    about = folder / "own-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (folder / "own.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    importlib.invalidate_caches()
