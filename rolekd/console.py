"""Tables and lines through rich, with foreign text as text: no markup, nothing that it obeys."""

from typing import IO, Any

from rich.console import Console
from rich.text import Text

from rolekd.display import shown


class _Console(Console):
    """A console that takes a `str` for foreign text; what we style or break ourselves is `Text`."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return `text` as one line; every string of a table or a print comes here."""
        return super().render_str(shown(text), **{**options, "markup": False, "emoji": False})


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
