"""The ladder: hand-made policies of one strength each, in the same 60 integers as searched ones.

A rung is named FAMILY-STRENGTH, such as `geometry-4`. Strength 0 does nothing; at 10 every
operation that has a strength is stronger than in RandAugment(2, 9), and at 4 and 5 about as strong
(`all-10` rotates by 27 degrees where RandAugment(2, 9) rotates by 9). One scalar is far easier to
search than 60 integers: the grid of RandAugment (Cubuk et al. 2020) and RangeAugment (Mehta et al.
2022) search nothing else. As in RandAugment, Cutout and Invert are not used.

Standard library only.
"""

import re

from rolekd.augment.policy import COPIES, MAX_MAGNITUDE, OPERATIONS, Policy
from rolekd.errors import InputError

HIGHEST = 10

_GEOMETRY = ("Rotate", "TranslateX", "TranslateY", "ShearX", "ShearY")
_BLENDS = ("Brightness", "Color", "Contrast", "Sharpness")
_COLOUR = (*_BLENDS, "Solarize", "Posterize", "AutoContrast", "Equalize")
FAMILIES = {"geometry": _GEOMETRY, "colour": _COLOUR, "all": (*_GEOMETRY, *_COLOUR)}

_IDENTITY = 5  # of the blends: the factor at this magnitude is 1
# these change an image much at any magnitude, so they come later
_FROM = {"Posterize": 5, "Equalize": 3, "AutoContrast": 2}


def policy(name: str) -> Policy:
    """Return the policy of a rung.

    Raises:
        InputError: The name is not that of a rung.
    """
    family, strength = parse(name)
    pairs = [
        _pair(operation, strength, copy) if operation in FAMILIES[family] else (0, 0)
        for copy in range(COPIES)
        for operation in OPERATIONS
    ]
    return Policy(value for pair in pairs for value in pair)


def is_rung(name: object) -> bool:
    """Return whether something is the name of a rung."""
    try:
        parse(str(name))
    except InputError:
        return False
    return True


def parse(name: str) -> tuple[str, int]:
    """Return family and strength of a rung's name."""
    found = re.fullmatch(r"([a-z]+)-(0|[1-9][0-9]?)", name)
    if found is None or found[1] not in FAMILIES or int(found[2]) > HIGHEST:
        raise InputError(
            f"{name!r} is not a rung of the ladder; name {', '.join(f'{f}-S' for f in FAMILIES)} "
            f"with a strength S of 1 to {HIGHEST}; 0 does nothing"
        )
    return found[1], int(found[2])


def _pair(operation: str, strength: int, copy: int) -> tuple[int, int]:
    """Return probability and magnitude of an operation in one of its copies."""
    if strength < _FROM.get(operation, 1):
        return 0, 0
    # ten entries and more of these probabilities fill the two places of an image from 4 on
    probability = -(-strength // 2)
    if operation in _BLENDS:  # one copy above the identity, the other below
        distance = -(-strength * (_IDENTITY - 1) // HIGHEST)
        return probability, _IDENTITY + (distance if copy == 0 else -distance)
    if operation == "Solarize":  # of the brightest values first; half as far as the others go
        return probability, strength // 2
    return probability, round(strength * MAX_MAGNITUDE / HIGHEST)
