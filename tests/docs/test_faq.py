"""docs/faq.md quotes messages of the program, as they are."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/faq.md").read_text()
MESSAGES = [
    " ".join(block.split()) for block in re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S)
]
# of a message's characters: fixed in the code, not values; and within what the code says
LEAST_FIXED, LEAST_SAID = 0.25, 0.8


def texts(path: Path) -> Iterator[list[str]]:
    """Yield the fixed parts of each text of a file, between which values stand."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Constant(value=str(text)):
                parts = re.split(r"%[sd]|%\.\d+f", text)
            case ast.JoinedStr(values=values):
                parts = [""]
                for value in values:
                    if isinstance(value, ast.Constant):
                        parts[-1] += value.value
                    else:
                        parts.append("")
            case _:
                continue
        yield parts


SAID = [said for path in sorted((ROOT / "rolekd").rglob("*.py")) for said in texts(path)]


def is_said(message: str) -> bool:
    for parts in SAID:
        if len("".join(parts)) < LEAST_FIXED * len(message):
            continue
        if all(part in message for part in parts):  # much faster than the expression
            found = re.search(".*".join(map(re.escape, parts)), message)
            if found is not None and len(found[0]) >= LEAST_SAID * len(message):
                return True
    return False


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message[:40])
def test_the_program_says_so(message):
    assert is_said(message)


def test_what_the_program_does_not_say_is_found():
    assert len(MESSAGES) > 15
    for message in MESSAGES:
        assert not is_said(" ".join(word[::-1] for word in message.split()))
    assert not is_said("params.yaml: student.bit: key that is unknown; did you mean bits?")
