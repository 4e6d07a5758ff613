"""The sources, one per module, which ends with its row: `SOURCES = {name: class}`.

A module that is added here is found; a new source does not need other changes.
"""

import importlib
import pkgutil

from rolekd.sources.source import Source

__all__ = ["SOURCES"]

SOURCES: dict[str, type[Source]] = {
    name: source
    for module in pkgutil.iter_modules(__path__)
    for name, source in importlib.import_module(f"{__name__}.{module.name}").SOURCES.items()
}
