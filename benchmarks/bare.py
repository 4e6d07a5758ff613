"""Import this first where pydantic may be missing, as on most borrowed GPU machines.

The core needs `rolekd.params` only for the types of sections. A benchmark that makes its own
sections does not need the schema: here a module of names takes its place.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Names(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Any


if importlib.util.find_spec("pydantic") is None:
    sys.modules.setdefault("rolekd.params", _Names("rolekd.params"))
