"""The sources, one in a module, which ends with its row: `SOURCES = {name: class}`.

A module that is added here is found; nothing else changes for a new source.
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
