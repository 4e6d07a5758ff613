"""Tables, plots and the HTML page of a run."""

import os
from pathlib import Path

__all__ = [
    "costs",
    "datafiles",
    "exact",
    "failures",
    "finals",
    "findings",
    "gather",
    "histories",
    "measured",
    "page",
    "schedules",
    "statistics",
    "style",
    "tables",
    "terminal",
]

# Matplotlib's list of fonts stays in the project, and a matplotlibrc in your home does not change a
# figure. Read when matplotlib is imported; outside a project its own place is as good as any.
if Path("dvc.yaml").is_file():
    os.environ.setdefault("MPLCONFIGDIR", str(Path(".rolekd/matplotlib").absolute()))
