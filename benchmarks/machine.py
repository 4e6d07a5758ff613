"""What a measurement was made on: machine and versions."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rolekd import processes
from rolekd.track.provenance import processor


def describe(packages: Iterable[str]) -> dict[str, Any]:
    """Return processor, cores, Python and the versions of distributions, for a result's head."""
    return {
        "processor": processor(),
        "cores": processes.cores(),
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
