"""Bits of single layers: paths and patterns of paths -> a width.

A width is a number of bits, of the layer's weights and of its input, or "float". A pattern
has `*`, `?` or `[...]`. A path goes before patterns; the order of the patterns means nothing, so
two that disagree are refused.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from rolekd.errors import InputError, did_you_mean

Width = int | Literal["float"]


def resolve(overrides: Mapping[str, Width], paths: Sequence[str], first: str) -> dict[str, Width]:
    """Return the width of each layer that an override names, but of the first convolution, by path.

    Args:
        overrides: path or pattern -> width.
        paths: of all convolutions and hidden linear layers, in the order in which they run.
        first: that of the first convolution.

    Raises:
        InputError: no such layer has this path, two patterns disagree, a width is no width, or
            bits are given to the first convolution, whose width `ends` says.
    """
    found: dict[str, tuple[str, Width]] = {}
    for key, width in sorted(overrides.items(), key=lambda item: _is_pattern(item[0])):
        if width != "float" and width not in range(1, 9):
            raise InputError(f"overrides.{key}: {width} is no width; choose 1 to 8 bits or float")
        if key == first and width != "float":
            raise InputError(f"overrides.{key}: the first convolution stays float; remove this")
        for path in _matches(key, paths):
            other, known = found.get(path, (key, width))
            if known != width and _is_pattern(other):
                raise InputError(
                    f"overrides.{key}: gives {path} another width than {other}; name the path"
                )
            found.setdefault(path, (key, width))
    return {path: width for path, (_, width) in found.items() if path != first}


def _is_pattern(key: str) -> bool:
    return any(sign in key for sign in "*?[")


def _matches(key: str, paths: Sequence[str]) -> list[str]:
    matching = [path for path in paths if path == key or fnmatchcase(path, key)]
    if not matching:
        raise InputError(f"overrides.{key}: no such layer; {did_you_mean(key, paths)}")
    return matching
