"""Small damages: to bytes, to text, to nested values. All chance comes from the caller."""

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

Chance = random.Random

# what foreign names and values have held: controls, markup of every formatter, what looks like a
# path, an option, a secret
TEXTS = (
    "",
    " ",
    "x" * 300,
    "x" * 100_000,
    "\x1b]0;owned\x07",
    "\x1b[31mred",
    "a\nb",
    "a\r\nerror: b",
    "\u2028",
    "\u202egnp.exe",
    "\x00",
    "\x9b31m",
    "\ud800",
    "\ufeff",
    "e\u0301" * 50,
    "😀",
    "$^$",
    "cost $5 or $6",
    "$\\frac{1}{0}$",
    "[/x]",
    "[bold]x",
    "[link=file:///etc/passwd]x[/link]",
    "<!--<script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "&amp;",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "{0.__class__}",
    "%s%n",
    "](javascript:alert(1))",
    "`x`",
    "# x",
    "| a | b |",
    "../../etc/passwd",
    "/dev/zero",
    "-",
    "--help",
    "https://user:hunter2secret@host/x",
    "null",
    "~",
    "1e999",
    "=1+1",
    "__class__",
)
VALUES = (
    *(None, True, False, 0, 1, -1, 2, 8, 255, 256, 2**31, 2**63, 2**64, -(2**63), 10**400),
    *(0.0, -0.0, 0.5, 1.0, 1e-9, 1e-300, 5e-324, 1e300, 1e308, float("inf"), float("nan")),
    *([], {}, [[]], [None], {"": None}, [0] * 60, [0] * 10_000),
)
_BYTES = (b"\0", b"\xff", b"\x80", b"\n", b"{", b"[", b'"', b",", b"\x1b", b"\xf0\x9f", b"9" * 5000)


def nested(depth: int) -> list[Any]:
    """Return lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def some_value(chance: Chance) -> Any:
    """Return a value that may not fit where it is put."""
    kind = chance.randrange(10)
    if kind < 5:
        return copy.deepcopy(chance.choice(VALUES))
    if kind < 8:
        return chance.choice(TEXTS)
    if kind == 8:
        return nested(chance.choice((2, 50, 200)))
    return chance.choice((chance.randint(-10, 100), chance.random(), round(chance.random(), 2)))


def in_bytes(content: bytes, chance: Chance) -> bytes:
    """Return a content with one to four damages."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        content = chance.choice(_OF_BYTES)(content, chance)
    return content


def _place(content: bytes, chance: Chance) -> int:
    # half of them near the beginning, where headers are
    longest = min(len(content), 64) if chance.random() < 0.5 else len(content)
    return chance.randint(0, longest)


def _flip(content: bytes, chance: Chance) -> bytes:
    if not content:
        return content
    place = min(_place(content, chance), len(content) - 1)
    changed = content[place] ^ (1 << chance.randrange(8))
    return content[:place] + bytes([changed]) + content[place + 1 :]


def _overwrite(content: bytes, chance: Chance) -> bytes:
    place = _place(content, chance)
    new = chance.choice(
        (
            chance.randbytes(chance.randint(1, 16)),
            chance.choice(_BYTES),
            chance.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**63)).to_bytes(8, "little"),
            chance.choice((0, 1, 2**31 - 1, 2**32 - 1)).to_bytes(4, "big"),
        )
    )
    return content[:place] + new + content[place + len(new) :]


def _insert(content: bytes, chance: Chance) -> bytes:
    place = _place(content, chance)
    new = chance.choice((chance.choice(_BYTES), chance.choice(TEXTS).encode(errors="replace")))
    return content[:place] + new + content[place:]


def _cut(content: bytes, chance: Chance) -> bytes:
    return content[: _place(content, chance)]


def _remove(content: bytes, chance: Chance) -> bytes:
    place = _place(content, chance)
    return content[:place] + content[place + chance.randint(1, 40) :]


def _repeat(content: bytes, chance: Chance) -> bytes:
    place = _place(content, chance)
    part = content[place : place + chance.randint(1, 40)]
    return content[:place] + part * chance.choice((2, 3, 1000)) + content[place:]


_OF_BYTES: Sequence[Callable[[bytes, Chance], bytes]] = (
    *(_flip, _flip, _overwrite, _overwrite),
    *(_insert, _cut, _remove, _repeat),
)


def in_value(value: Any, chance: Chance) -> Any:
    """Return a copy of a nested value with one to three damages."""
    root = [copy.deepcopy(value)]
    for _ in range(chance.choice((1, 1, 2, 3))):
        holder, key = chance.choice(_places(root))
        _damage(holder, key, chance)
        if not root:
            return None
    return root[0]


def _places(root: list[Any]) -> list[tuple[Any, Any]]:
    """Return every (container, key) in a value; of long lists the first and the last."""
    found: list[tuple[Any, Any]] = []
    waiting: list[Any] = [root]
    while waiting and len(found) < 2000:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        for key in keys if len(keys) < 8 else [*keys[:4], *keys[-4:], keys[len(keys) // 2]]:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    if isinstance(root[0], dict) and len(root[0]) >= 8:
        found += [(root[0], key) for key in root[0]]
    return found


def _damage(holder: Any, key: Any, chance: Chance) -> None:
    kind = chance.randrange(8)
    number = isinstance(holder[key], int | float) and not isinstance(holder[key], bool)
    if number and chance.random() < 0.5:  # what may still be right, or just not
        holder[key] += chance.choice((-1, 1, 1, 2, 10))
    elif kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[chance.choice(TEXTS)] = holder.pop(key)
    elif kind == 2 and isinstance(holder, dict):
        holder[chance.choice((*TEXTS, *map(str, holder)))] = some_value(chance)
    elif kind == 3 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif kind == 4 and number:
        holder[key] = chance.choice((-1, 10, 10**6)) * holder[key]
    elif kind == 5:
        holder[key] = chance.choice(([holder[key]], {"x": holder[key]}, str(holder[key])))
    else:
        holder[key] = some_value(chance)


def in_text(text: str, chance: Chance) -> str:
    """Return a text with something foreign in it."""
    place = chance.randint(0, len(text))
    rest = chance.choice((text[place:], text[place + 1 :], ""))
    return text[:place] + chance.choice(TEXTS) + rest
