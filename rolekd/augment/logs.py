"""Import of released search logs: the winner's lineage, one line per exploit.

A line is a list `[target, clone, target epoch, clone epoch, old config, new config]`, as JSON or
as a Python literal; the policies are the configs' `hp_policy`. The line says that the member
`target` became a copy of `clone` at the clone's epoch and continued with the new policy.
Standard library only.
"""

import ast
import itertools
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rolekd.augment.policy import Policy
from rolekd.augment.schedule import MAX_EPOCHS, Schedule
from rolekd.errors import InputError, brief
from rolekd.files import open_regular

MAX_LINE = 100_000  # bytes; released lines have under 2,000
MAX_FILE = 2**27  # bytes
_LONGEST_NAME = 40
_POLICY = "hp_policy"


@dataclass(frozen=True)
class _Exploit:
    """A checked line."""

    line: int
    target: str
    clone: str
    clone_epoch: int
    old: Policy
    new: Policy


def import_log(path: Path | str, epochs: int) -> Schedule:
    """Read a log as a schedule over `epochs` epochs.

    The log can begin with stale lines of earlier lineages: the chain restarts after the last
    line whose target is not the next line's clone. The first policy runs up to the first kept
    line's clone epoch, every new policy up to the next line's, the last to the end.

    Raises:
        InputError: the file cannot be read, or a line is damaged; names the line.
    """
    try:
        with open_regular(path, MAX_FILE) as file:
            exploits = list(_exploits(file))
        if not exploits:
            raise InputError("is empty; give a log with one list per line")
        return _schedule(_lineage(exploits), epochs)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _exploits(file: BinaryIO) -> Iterator[_Exploit]:
    for number in itertools.count(1):
        raw = file.readline(MAX_LINE + 1)
        if not raw:
            return
        try:
            if not raw.strip():
                _refuse_more(file)
                return
            yield _exploit(number, _value(raw))
        except InputError as error:
            raise InputError(f"line {number}: {error}") from error


def _refuse_more(file: BinaryIO) -> None:
    while chunk := file.read(1 << 20):
        if chunk.strip():
            raise InputError("is empty, but lines follow; remove it")


def _value(raw: bytes) -> Any:
    """Read a line as JSON, else as a Python literal."""
    if len(raw) > MAX_LINE:
        raise InputError(f"is longer than {MAX_LINE} bytes; this is not a search log")
    try:
        text = raw.decode()
        try:
            return json.loads(text)
        except ValueError:
            with warnings.catch_warnings(action="ignore"):  # of noise that is nearly Python
                return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise InputError(
            "is neither JSON nor a Python literal; restore it from the search's output"
        ) from None


def _exploit(line: int, value: Any) -> _Exploit:
    if not isinstance(value, list | tuple) or len(value) != 6:
        raise InputError(
            "is not a list of 6: target, clone, target epoch, clone epoch, old and new config"
        )
    target, clone, target_epoch, clone_epoch, old, new = value
    _epoch("target epoch", target_epoch)
    return _Exploit(
        line,
        _member("target", target),
        _member("clone", clone),
        _epoch("clone epoch", clone_epoch),
        _policy("old config", old),
        _policy("new config", new),
    )


def _member(name: str, value: Any) -> str:
    known = isinstance(value, str) and len(value) <= _LONGEST_NAME
    if not known and (type(value) is not int or not 0 <= value < 10**_LONGEST_NAME):
        raise InputError(f"{name} is {brief(value)}; give a member's number")
    return str(value)


def _epoch(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_EPOCHS:
        raise InputError(f"{name} is {brief(value)}; make it an integer from 0 to {MAX_EPOCHS - 1}")
    return value


def _policy(name: str, config: Any) -> Policy:
    if not isinstance(config, dict) or not isinstance(config.get(_POLICY), list | tuple):
        raise InputError(f"{name} has no list {_POLICY}; give the 60 integers")
    try:
        return Policy(config[_POLICY])
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _lineage(exploits: list[_Exploit]) -> list[_Exploit]:
    """Drop the stale lines; refuse a chain that is broken in the middle.

    A lineage begins with the policy that every search starts from, so a break before any other
    policy means that lines are missing.
    """
    first = 0
    for index, (line, after) in enumerate(itertools.pairwise(exploits)):
        if line.target != after.clone:
            first = index + 1
            if after.old != Policy.zeros():
                raise InputError(
                    f"line {after.line}: the chain is broken: it copies member {after.clone}, the "
                    f"line before it made member {line.target}; restore the missing lines"
                )
    kept = exploits[first:]
    for line, after in itertools.pairwise(kept):
        if after.old != line.new:
            raise InputError(
                f"line {after.line}: the chain is broken: its old policy is not the new one of "
                f"line {line.line}; restore the missing lines"
            )
        if after.clone_epoch <= line.clone_epoch:
            raise InputError(
                f"line {after.line}: clone epoch {after.clone_epoch} is not after that of line "
                f"{line.line}, {line.clone_epoch}; restore the order of the lines"
            )
    return kept


def _schedule(lineage: list[_Exploit], epochs: int) -> Schedule:
    for exploit in lineage:
        if exploit.clone_epoch >= epochs:
            raise InputError(
                f"line {exploit.line}: clone epoch {exploit.clone_epoch} does not fit in {epochs} "
                "epochs; give the epochs of the search and stretch the schedule afterwards"
            )
    segments = {0: lineage[0].old}
    segments.update((exploit.clone_epoch, exploit.new) for exploit in lineage)
    return Schedule(epochs, segments.items())
