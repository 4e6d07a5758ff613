"""Errors that speak to users: one line with the file or key, what is wrong, and the remedy."""


class RolekdError(Exception):
    """Base of all errors that are reported as one line, without a traceback."""

    exit_code = 1


class InputError(RolekdError):
    """What the user gave is wrong: a parameter, a file, an argument. Exit code 2."""

    exit_code = 2


class RunError(RolekdError):
    """The run itself failed: a loss became NaN, a lock is held, a store is gone. Exit code 1."""
