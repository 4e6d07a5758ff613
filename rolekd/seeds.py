"""Seeds are functions: every random stream comes from (base seed, purpose, coordinates).

Standard library only, so that the planning of a search can use it without numpy or torch.
"""

import hashlib


def derive(base: int, purpose: str, *coordinates: int) -> int:
    """Return the 63-bit seed of one random stream.

    `purpose` names the stream ("shuffle", "augment", "explore"); `coordinates` place it, in the
    order (epoch, slot, ...). Streams of different arguments are independent for all practical
    purposes: the seed is the BLAKE2b hash of the arguments.
    """
    text = "/".join([str(base), purpose, *map(str, coordinates)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
