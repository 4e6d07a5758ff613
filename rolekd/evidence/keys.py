"""Keys of params.yaml as records have them: under the name that they had when recorded.

So what is on record keeps its digests, and a renamed key does not make it run again.
"""

from collections.abc import Mapping
from typing import Any

# key of params.yaml -> its name in records
_RECORDED = {"lr_schedule": "schedule"}
_NOW = {recorded: now for now, recorded in _RECORDED.items()}


def as_recorded(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections of params.yaml, as JSON has them, under the names that records have."""
    return _renamed(sections, _RECORDED)


def as_now(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded sections under the names that params.yaml has now."""
    return _renamed(sections, _NOW)


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        names.get(key, key): _renamed(value, names) if isinstance(value, Mapping) else value
        for key, value in values.items()
    }
