"""One line of the doctor's report."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from rolekd.errors import RolekdError, one_line

Severity = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: what was checked, in a word or two.
        verdict: ok; note: worth knowing, nothing fails; fault: something will fail.
        found: the state.
        remedy: what to do; empty if nothing.
    """

    check: str
    verdict: Severity
    found: str
    remedy: str = ""


FindingCheck = Callable[[], Iterable[Finding]]


def run(name: str, check: FindingCheck) -> list[Finding]:
    """Return what a check found; a check that itself fails becomes a finding too."""
    try:
        return list(check())
    except RolekdError as error:
        return [of_error(name, error)]
    except Exception as error:
        reason = one_line(error, 200)
        return [Finding(name, "fault", f"{type(error).__name__}: {reason}", "report this")]


def of_error(name: str, error: RolekdError) -> Finding:
    """Return the fault in an error message: what is wrong and, after the semicolon, the remedy."""
    found, _, remedy = str(error).rpartition("; ")
    return Finding(name, "fault", found or str(error), remedy if found else "")
