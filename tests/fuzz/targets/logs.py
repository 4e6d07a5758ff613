"""Released search logs: `rolekd.augment.logs.import_log`, against an own reading of the lines."""

import ast
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuzz import mutations
from fuzz.harness import Case, Special
from rolekd.augment.logs import import_log

FILE = "log.txt"
EPOCHS = 30


def _line(target: str, clone: str, epoch: int, old: int, new: int) -> list[Any]:
    return [target, clone, 5, epoch, {"hp_policy": [old] * 60}, {"hp_policy": [new] * 60}]


LOG = [
    _line("10", "2", 3, 0, 1),
    _line("3", "10", 6, 1, 2),
    _line("8", "2", 9, 0, 3),
    _line("3", "8", 12, 3, 4),
    _line("2", "3", 21, 4, 5),
]
_TEXTS = {
    "nothing": b"",
    "nested": b"[" * 90_000,
    "minus": b"-" * 90_000 + b"1",
    "code": b"__import__('os').getcwd()",
    "a power": b"[9**9**9, 1, 1, 1, {}, {}]",
    "a product": b"[" + b"'a' * 10" * 3 + b"]",
    "formatted": b"f'{1:>1000000000}'",
    "digits": b"[" + b"9" * 90_000 + b"]",
    "a long line": b" " * 1_000_000,
    "an empty line": json.dumps(LOG[0]).encode() + b"\n\n" + json.dumps(LOG[1]).encode(),
    "controls": json.dumps(LOG[0]).encode().replace(b'"10"', b"'\x1b]0;x\x07'"),
    "zeros": bytes(1_000_000),
}


class Target:
    """A log of two lineages, damaged as values, lines and bytes."""

    origin = FILE
    named: Mapping[str, Case] = {
        **{name: {FILE: text} for name, text in _TEXTS.items()},
        "a FIFO": {FILE: Special()},
        "endless": {FILE: Special("/dev/zero")},
    }

    def case(self, chance: random.Random) -> Case:
        """Return the file, damaged."""
        kind = chance.random()
        dialect = chance.choice((json.dumps, repr))
        lines = [dialect(line) for line in LOG]
        if kind < 0.5:
            index = chance.randrange(len(LOG))
            lines[index] = dialect(mutations.in_value(LOG[index], chance))
        elif kind < 0.6:
            lines.pop(chance.randrange(len(lines)))
        elif kind < 0.7:
            chance.shuffle(lines)
        content = "\n".join(lines).encode(errors="surrogatepass")
        return {FILE: content if kind < 0.7 else mutations.in_bytes(content, chance)}

    def read(self, folder: Path) -> str:
        """Import it; what was accepted must be the last lineage of the lines."""
        found = import_log(folder / FILE, EPOCHS)
        segments = [(start, list(policy)) for start, policy in found.segments]
        assert found.epochs == EPOCHS
        assert segments == _expected((folder / FILE).read_text()), "is not what the lines say"
        return repr(segments)


def _expected(text: str) -> list[tuple[int, list[int]]]:
    """Return the segments of a log, by its rule and from behind."""
    values = []
    for line in text.split("\n"):
        if line.strip():
            try:
                values.append(json.loads(line))
            except ValueError:
                values.append(ast.literal_eval(line.strip()))
    kept = [values[-1]]
    for value in reversed(values[:-1]):
        if str(value[0]) != str(kept[0][1]):
            break
        kept.insert(0, value)
    segments = {0: kept[0][4]["hp_policy"]}
    segments |= {value[3]: value[5]["hp_policy"] for value in kept}
    return [(start, list(policy)) for start, policy in segments.items()]
