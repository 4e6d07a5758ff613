"""Bits of single layers: path or pattern of paths -> bits.

The bits are a number, for the layer's weights and its input, or "float". A pattern has `*`, `?` or
`[...]`. A path takes precedence over patterns; the order of patterns has no meaning, so two that
disagree are refused.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from rolekd.errors import InputError, did_you_mean

LayerBits = int | Literal["float"]


def resolve(
    overrides: Mapping[str, LayerBits], paths: Sequence[str], first: str
) -> dict[str, LayerBits]:
    """Return path -> bits of each layer that an override names, except the first convolution.

    Args:
        overrides: path or pattern -> bits.
        paths: of all convolutions and hidden linear layers, in the order in which they run.
        first: that of the first convolution.

    Raises:
        InputError: no layer has this path, two patterns disagree, the bits are not 1 to 8, or some
            are given to the first convolution, whose bits `ends` decides.
    """
    found: dict[str, tuple[str, LayerBits]] = {}
    for key, bits in sorted(overrides.items(), key=lambda item: _is_pattern(item[0])):
        if bits != "float" and bits not in range(1, 9):
            raise InputError(
                f"overrides.{key}: {bits} is not a number of bits; choose 1 to 8, or float"
            )
        if key == first and bits != "float":
            raise InputError(f"overrides.{key}: the first convolution stays float; remove this")
        for path in _matches(key, paths):
            other, known = found.get(path, (key, bits))
            if known != bits and _is_pattern(other):
                raise InputError(
                    f"overrides.{key}: gives {path} other bits than {other}; name the path"
                )
            found.setdefault(path, (key, bits))
    return {path: bits for path, (_, bits) in found.items() if path != first}


def _is_pattern(key: str) -> bool:
    return any(sign in key for sign in "*?[")


def _matches(key: str, paths: Sequence[str]) -> list[str]:
    matching = [path for path in paths if path == key or fnmatchcase(path, key)]
    if not matching:
        raise InputError(f"overrides.{key}: no such layer; {did_you_mean(key, paths)}")
    return matching
