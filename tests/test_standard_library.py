"""Modules that say "Standard library only" import without any package beside it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROMISE = "Standard library only"
IMPORT = """
import importlib, sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if package not in sys.stdlib_module_names and package != "rolekd":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def _import(*names: str) -> subprocess.CompletedProcess[str]:
    """Import modules where no package is."""
    command = [sys.executable, "-c", IMPORT, *names]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_they_import_alone():
    files = [
        path for path in sorted((ROOT / "rolekd").rglob("*.py")) if PROMISE in path.read_text()
    ]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    assert "rolekd.search.final" in names
    done = _import(*names)
    assert done.returncode == 0, done.stderr


def test_what_imports_more_is_found():
    assert "pydantic" in _import("rolekd.params").stderr
