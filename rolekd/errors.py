"""Errors that speak to users: one line with the file or key, what is wrong, and the remedy."""

import difflib
import os
import re
import reprlib
import traceback
from collections.abc import Iterable, Sequence

_ALIKE = 0.7  # share of the letters; below it, suggestions are noise
_CHOICES = 20  # names that still fit into one line


class RolekdError(Exception):
    """Base of all errors that are reported as one line, without a traceback."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows, as the command line does; IPython asks for this name."""
        if os.environ.get("ROLEKD_DEBUG"):
            return traceback.format_exception(self)
        return [f"error: {self}"]


class InputError(RolekdError):
    """What the user gave is wrong: a parameter, a file, an argument. Exit code 2."""

    exit_code = 2


class RunError(RolekdError):
    """The run itself failed: a loss became NaN, a lock is held, a store is gone. Exit code 1."""


class HopelessError(RunError):
    """A run that would fail again wherever it was tried: its parameters are at fault."""


def one_line(error: BaseException, length: int | None = None) -> str:
    """Return what somebody else's error says as one line, of at most `length` characters."""
    return " ".join(str(error).split())[:length]


_REASON = re.compile(
    r"(?:(?:error|fatal)\b|[\w.]*(?:Error|Exception|Interrupt|Timeout)\b)[^\n]*", re.IGNORECASE
)


def reason(output: str) -> str:
    """Return the line that says why a program failed; what it printed last is often advice.

    Args:
        output: What it printed on standard error: a message, a log, or a traceback.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if _REASON.match(line)]
    return (told or lines or ["no message"])[-1]


def few(texts: Sequence[str], limit: int = 10, separator: str = ", ") -> str:
    """Join the first `limit` texts, and say how many more there are."""
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return separator.join(texts[:limit]) + more


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the remedy for a name that does not exist.

    Args:
        name: what was given.
        known: the names that do exist.
        otherwise: the remedy if none of them resembles it; by default the choice of all.
    """
    names = list(known)
    if near := difflib.get_close_matches(name, names, cutoff=_ALIKE):
        return f"did you mean {', '.join(near)}?"
    return otherwise or f"choose one of {few(names, _CHOICES)}"


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlist, self.maxtuple, self.maxstring = 2, 3, 3, 3, 40

    def repr_int(self, value: int, level: int) -> str:  # noqa: ARG002
        # Python refuses to write very long integers in decimal
        return repr(value) if abs(value) < 10**20 else f"an integer of {value.bit_length()} bits"


def brief(value: object) -> str:
    """Return how a message shows a value: some of a large one, and never written out before."""
    text = _Brief().repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
