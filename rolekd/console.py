"""Tables and lines through rich, with foreign text as text: no markup, nothing that it obeys."""

from typing import IO, Any

import rich.table
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.text import Text

from rolekd.display import shown


class _Console(Console):
    """A console that takes a `str` for foreign text; what we style or break ourselves is `Text`."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return `text` as one line; every string of a table or a print comes here."""
        return super().render_str(shown(text), **{**options, "markup": False, "emoji": False})

    def print(self, *objects: Any, crop: bool = False, **options: Any) -> None:
        """Print; what is wider than the terminal is not cut off."""
        super().print(*objects, crop=crop, **options)


class Table(rich.table.Table):
    """A table that cuts no name and breaks no word, however narrow the terminal is.

    Columns wrap between words. Where the words themselves do not fit, the table is wider than the
    terminal, which wraps the lines: what is read, or copied, is whole.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        frames = len(self.columns) + 1 if self.box else 0
        beside = [self._get_padding_width(place) for place in range(len(self.columns))]
        room = options.max_width - frames - sum(beside)
        widths = _widths([_needed(console, options, column) for column in self.columns], room)
        for column, width in zip(self.columns, widths, strict=True):
            column.width = width
        whole = frames + sum(beside) + sum(widths)
        yield from super().__rich_console__(
            console, options.update(width=max(whole, options.max_width))
        )


def _needed(
    console: Console, options: ConsoleOptions, column: rich.table.Column
) -> tuple[int, int]:
    """Return how wide a column must be for its longest word, and for its longest line."""
    cells: list[RenderableType] = [column.header, *column.cells]
    wide = options.update(width=10_000)
    measured = [Measurement.get(console, wide, cell) for cell in cells]
    most = max(one.maximum for one in measured)
    return (most if column.no_wrap else max(one.minimum for one in measured)), most


def _widths(needed: list[tuple[int, int]], room: int) -> list[int]:
    """Share the room out: each column has its words, and of the rest what its lines still want."""
    widths = [least for least, _ in needed]
    wanted = [most - least for least, most in needed]
    spare = min(max(room - sum(widths), 0), sum(wanted))
    for place in sorted(range(len(needed)), key=lambda place: wanted[place]):
        # the shortest first, an even share each: what one does not need goes to the others
        left = sum(one > 0 for one in wanted)
        share = min(wanted[place], spare // max(left, 1))
        widths[place] += share
        spare -= share
        wanted[place] = 0
    return widths


def console(*, err: bool = False, file: IO[str] | None = None, width: int | None = None) -> Console:
    """Return the console for standard output, standard error (`err`) or `file`."""
    return _Console(
        stderr=err,
        file=file,
        width=width,
        markup=False,
        emoji=False,
        highlight=False,
        color_system=None if file is not None else "auto",
    )
