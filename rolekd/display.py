"""Output of text: the one place for terminal, log and traceback; figures and pages use it too.

What comes from outside (names of files, keys, messages of a driver) may hold passwords, and
characters that a terminal obeys. Here secrets are blanked, and whatever is not printable is
escaped. Standard library only.
"""

import codecs
import json
import logging
import os
import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import Any

from rolekd import secrets

_LACKING = "rolekd.lacking"
_PLAIN = {"±": "+-", "…": "..", "—": "-", "–": "-", "×": "x", "·": ".", "→": ">"}
ERROR_LENGTH = 2000  # characters of an error's line
_READ = 20_000  # at each end of a text that is cut; far more, since redacted text is shorter


def shown(text: object, limit: int | None = None) -> str:
    r"""Return foreign text as one harmless line.

    Secrets are blanked; line breaks, control characters, marks that turn the direction of
    writing, and bytes that are not text become \n, \x1b, \u202e, \udcff.

    Args:
        text: its `str` is shown.
        limit: characters at most; the middle is left out, since the remedy is at the end.
    """
    whole = str(text)
    if limit is not None and len(whole) > 2 * _READ:  # so that a huge one costs no time
        whole = f"{whole[:_READ]}…{whole[-_READ:]}"
    line = _escaped(secrets.redact(whole))
    if limit is None or len(line) <= limit:
        return line
    end = limit // 3
    return f"{line[: limit - end - 1]}…{line[len(line) - end :]}"


def named(text: object) -> str:
    """Return a name that others open again as one harmless line: nothing of it is blanked."""
    return _escaped(str(text))


def clean(text: str) -> str:
    """Return text of several lines, such as a traceback, with secrets blanked, else harmless."""
    return _escaped(secrets.redact(text), keep="\n\t")


def clock(seconds: float) -> str:
    """Return seconds as 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def say(*lines: object, err: bool = False) -> None:
    """Print lines for people, each as `shown` returns it."""
    stream = sys.stderr if err else sys.stdout
    stream.write("".join(f"{shown(line)}\n" for line in lines))
    stream.flush()


def say_json(value: Any, indent: int | None = 2, *, exact: bool = False) -> None:
    """Print a JSON value; JSON escapes by itself, and secrets are blanked unless it is `exact`."""
    content = value if exact else secrets.blanked(value)
    sys.stdout.write(f"{json.dumps(content, indent=indent)}\n")
    sys.stdout.flush()


def say_error(message: object, error: BaseException | None = None) -> None:
    """Print an error's line on standard error, preceded by the traceback of `error`, if any."""
    if error is not None:
        sys.stderr.write(_traceback(error))
    sys.stderr.write(f"error: {shown(message, ERROR_LENGTH)}\n")
    sys.stderr.flush()


def guard() -> None:
    """Make all logs, warnings and tracebacks of this process pass through here.

    From now on the secrets in its environment and arguments are blanked wherever they stand.
    """
    secrets.remember_process(os.environ, sys.argv)
    logging.setLogRecordFactory(_Record)
    warnings.formatwarning = _format_warning
    sys.excepthook = _uncaught
    threading.excepthook = lambda told: _uncaught(told.exc_type, told.exc_value, None)
    codecs.register_error(_LACKING, _in_their_place)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal's letters lack stops nothing
            stream.reconfigure(errors=_LACKING)


def _in_their_place(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what stands for letters that a terminal lacks: those of our own texts stay legible."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(
        _PLAIN.get(letter, letter.encode("ascii", "backslashreplace").decode())
        for letter in lacking
    ), error.end


class _Record(logging.LogRecord):
    """A record whose message and traceback are clean, whatever handler writes them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[1] is not None:
            self.exc_text = _traceback(self.exc_info[1]).rstrip("\n")

    def getMessage(self) -> str:  # noqa: N802
        return clean(super().getMessage())


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,  # noqa: ARG001
) -> str:
    return f"{shown(filename)}:{lineno}: {category.__name__}: {clean(str(message))}\n"


def _uncaught(
    kind: type[BaseException], error: BaseException | None, _: TracebackType | None
) -> None:
    if issubclass(kind, SystemExit):
        return
    sys.stderr.write(kind.__name__ + "\n" if error is None else _traceback(error))


def _traceback(error: BaseException) -> str:
    return clean("".join(traceback.format_exception(error)))


def _escaped(text: str, keep: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in keep
        else letter.encode("unicode_escape").decode()
        for letter in text
    )
