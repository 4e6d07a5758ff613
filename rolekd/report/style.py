"""One look for all figures: on paper, on a light page and on a dark one.

In HTML, ink (text, axes, ticks) takes the colour of the page's text, and the background
that of its card. The other colours can be distinguished on
white and on near-black, also by colour-blind people (after Okabe and Ito 2008, "Color Universal
Design").
"""

import contextlib
import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from rolekd import files
from rolekd.display import shown
from rolekd.params import CompareParams, teacher_name

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK = "#23272e"
PAPER = "#fefefe"  # background; this white is not used for anything else
FAINT = "#8b929c"
DARK_INK, DARK_PAGE = "#e6e8eb", "#16191d"
ACCENT = "#d9622b"
PALETTE = ("#3d8bd1", "#e0a100", "#c970a4", "#1f9e78", "#5bb8e8", "#9a7b4f", "#b34d4d", "#5a6f8c")
TEACHER_COLOUR = "#7f7fd5"
TEACHER_COLOURS = {
    "searched": TEACHER_COLOUR,
    "plain": "#a873cf",
    "randaugment": "#5f9ea0",
    "adaptive": "#7d9a4a",
}

_INKED = re.compile(rf"(?<![\w#]){INK}|#000000\b")
_LONGEST_LABEL = 40  # characters, for instance of a class's name
_ENLARGEMENT = 1.2  # figures are drawn narrow, for a phone; a page has more room

_SETTINGS: "dict[RcKeyType, object]" = {
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": FAINT,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "none",
    # A name is not a formula: "$^$" would end the drawing, "$5 or $6" lose its dollars. Read when a
    # text is made, ticks are made when the figure is saved: hence `style()` around both.
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
    "svg.hashsalt": "rolekd",  # the same figure gives the same bytes
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Make the context in which figures are made and saved, also as the decorator `@style()`."""
    with mpl.rc_context(_SETTINGS):
        yield


def legible(text: str, longest: int = _LONGEST_LABEL) -> str:
    """Return a name from outside for a figure: harmless, short, shown in every legend."""
    name = shown(text, longest)
    return (
        f" {name}" if name.startswith("_") else name
    )  # legends leave out names that start like this


def colours(compare: CompareParams) -> dict[str, str]:
    """Return arm or teacher -> its colour, the same in every figure: by its place among the arms.

    The baseline is emphasised; the first arm without a teacher is the reference, in grey.
    """
    places = itertools.cycle(PALETTE)
    alone = next((name for name, arm in compare.arms.items() if not arm.distilled), None)
    special = {alone: FAINT, compare.baseline: ACCENT}
    arms = {name: special.get(name) or next(places) for name in compare.arms}
    return {teacher_name(name): TEACHER_COLOURS[name] for name in compare.teachers} | arms


def inline_svg(figure: Figure, seen: str) -> str:
    """Return a figure as an SVG element for an HTML page, in the page's text colour.

    `seen` describes the figure for people who cannot see it.
    """
    text = io.StringIO()
    with style():
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # names that are shared by several figures on a page
    # in tags only: a class may be called #000000
    svg = re.sub(r"<[^>]*>", lambda tag: _coloured(tag[0], "currentColor", "var(--card)"), svg)
    width = re.search(r'viewBox="0 0 ([\d.]+)', svg)
    assert width is not None
    # points -> CSS pixels, a little larger; the page lets a narrow screen shrink it
    natural = round(float(width[1]) * 96 / 72 * _ENLARGEMENT)
    head = f'<svg role="img" aria-label="{_attribute(shown(seen))}" style="width:{natural}px"'
    return re.sub(r'<svg(?: height="[^"]*"| width="[^"]*")*', head, _unsized(svg), count=1)


def save(figure: Figure, path: Path, *, dark: bool = False) -> None:
    """Write a figure as PNG or SVG, by the suffix, on white, for use outside a page.

    An SVG can have a `dark` version beside it, for pages that show one or the other.
    """
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with files.replacing(path) as temporary, style():
        figure.savefig(
            temporary,
            dpi=150,
            facecolor=DARK_PAGE if dark else "white",
            metadata=metadata,
            format=path.suffix[1:],
        )
        if dark:
            files.write_text(temporary, _coloured(temporary.read_text(), DARK_INK, DARK_PAGE))


def _coloured(svg: str, ink: str, paper: str) -> str:
    return _INKED.sub(ink, svg).replace(PAPER, paper)


def _unsized(svg: str) -> str:
    """Drop width and height of the outer element; its viewBox keeps the proportions."""
    head, end, rest = svg.partition(">")
    return re.sub(r'\s(?:width|height)="[^"]*"', "", head) + end + rest


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
