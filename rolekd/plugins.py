"""Entry points of installed packages, by group and name."""

import importlib.metadata
from typing import Any

from rolekd.errors import InputError


def names(group: str) -> list[str]:
    """Return what installed packages declare in a group."""
    return [point.name for point in importlib.metadata.entry_points(group=group)]


def load(group: str, name: str, owner: str) -> Any:
    """Return what is declared under a name that `names` has; `owner` begins the line of an error.

    Raises:
        InputError: It cannot be imported.
    """
    (point, *_) = importlib.metadata.entry_points(group=group, name=name)
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{owner}: its entry point {point.value} does not load ({error}); mend or reinstall "
            "the package that declares it"
        ) from error
