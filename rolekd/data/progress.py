"""A bar on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rolekd.display import say

if TYPE_CHECKING:
    from rich.progress import Progress

_SECONDS = 10.0  # between lines where there is no terminal


class Bar:
    """Shows how many images were read, on standard error."""

    def __init__(self, what: str = "images") -> None:
        self._what = what
        self._bar: Progress | None = None
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

            from rolekd.console import console

            self._bar = Progress(
                *Progress.get_default_columns()[:2],
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console(err=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=None)
        return self

    def show(self, done: int, total: int) -> None:
        """Tell that `done` of `total` are read."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif time.monotonic() - self._last > _SECONDS:
            self._last = time.monotonic()
            say(f"{self._what}: {done} of {total}", err=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
