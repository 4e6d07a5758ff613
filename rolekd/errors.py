"""Errors that speak to users: one line with the file or key, what is wrong, and the remedy."""

import reprlib


class RolekdError(Exception):
    """Base of all errors that are reported as one line, without a traceback."""

    exit_code = 1


class InputError(RolekdError):
    """What the user gave is wrong: a parameter, a file, an argument. Exit code 2."""

    exit_code = 2


class RunError(RolekdError):
    """The run itself failed: a loss became NaN, a lock is held, a store is gone. Exit code 1."""


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
