"""Names of classes: through the report, its tables, the plots' page and the model card."""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from comparisons import comparing, printed
from dvc_render.html import render_html
from dvc_render.vega import VegaRenderer
from markdown_it import MarkdownIt

from fuzz import examples, mutations
from fuzz.harness import Case
from rolekd.errors import InputError
from rolekd.registry.card import card
from rolekd.registry.evidence import Evidence
from rolekd.report import page, plots, tables
from rolekd.sources.source import check_class_name

FILE = "classes.json"
PLOTS = Path(__file__).parents[3] / ".dvc" / "plots"
COUNT = 10
PLAIN = tuple(f"class {number}" for number in range(COUNT))
_LABELS = np.arange(4 * COUNT) % COUNT
_NAMED = (
    *("$^$", "cost $5 or $6", "$\\frac{1}{0}$", "$", "$$", "\\", "_x_ *y*", "**x**"),
    *("<!--<script>", "<script>", "<!--", "-->", "<img src=x onerror=alert(1)>", "&lt;b&gt;"),
    *("[x]", "[red]", "{{ 7 * 7 }}", "{% raw %}", "{scripts}", "%s", "[x](javascript:alert(1))"),
    *("# x", "`x`", "---", "| a | b |", "<e@x.org>", "https://a:hunter2secret@b", "1. x", "> x"),
    *("größe", "日本語", "😀", " x", "x ", "שלום", "e\u0301", "~~x~~", "![x](y)", "x" * 100),
)


class Target:
    """Names, some of them foreign."""

    origin = FILE

    def __init__(self) -> None:
        parts = [_NAMED[start : start + COUNT] for start in range(0, len(_NAMED), COUNT)]
        self.named: Mapping[str, Case] = {
            f"names like {part[0]}": {FILE: json.dumps(part).encode()} for part in parts
        }
        self._plain = _Shapes.of(*_documents(PLAIN))

    def case(self, chance: random.Random) -> Case:
        """Return names, about half of them foreign."""
        names = list(PLAIN)
        for index in range(COUNT):
            kind = chance.random()
            if kind < 0.4:
                names[index] = mutations.in_text(names[index], chance)
            elif kind < 0.6:
                names[index] = "".join(chr(chance.choice(_LETTERS)) for _ in range(8))
        return {FILE: json.dumps(names).encode()}

    def read(self, folder: Path) -> str:
        """Write everything; it has the parts that it has with plain names."""
        names = [_usable(name, folder) for name in json.loads((folder / FILE).read_bytes())]
        distinct = dict.fromkeys([*filter(None, names), *PLAIN])
        documents = _documents(tuple(distinct)[:COUNT])
        found = _Shapes.of(*documents)
        assert found.tags == self._plain.tags, (
            f"other elements on the page: {_less(found.tags, self._plain.tags)}"
        )
        assert found.around == self._plain.around, "other elements on the page of plots"
        assert found.classes == set(tuple(distinct)[:COUNT]), "other names in the figure of plots"
        assert found.parts == self._plain.parts, (
            f"other parts of the card: {_less(found.parts, self._plain.parts)}"
        )
        return hashlib.sha256("".join(documents).encode()).hexdigest()


def _usable(name: str, folder: Path) -> str | None:
    """Return a name that prepare lets in; None for others."""
    try:
        return check_class_name(name, folder / FILE)
    except InputError as error:
        assert len(str(error)) < 1000
        return None


_LETTERS = [*range(32, 127), *range(0xA0, 0x250), *range(0x590, 0x600), *range(0x4E00, 0x4E20)]


def _documents(classes: tuple[str, ...]) -> tuple[str, str, str]:
    """Return the report, the page of `dvc plots` and the model card."""
    logits = {}
    for arm, wrong in (("kd", 9), ("kd-rolewise", 4)):
        one_hot = 4 * np.eye(COUNT)[_LABELS]
        one_hot[:wrong] = np.roll(one_hot[:wrong], 1, axis=1)
        logits[arm] = np.stack([one_hot, one_hot])
    evaluation = tables.summarise(logits, _LABELS, classes, comparing(logits))
    images = np.zeros((len(_LABELS), 8, 8, 1), np.uint8)
    mistakes = plots.mistakes_figure(images, _LABELS, logits["kd"][0], classes)
    content = page.PageContent(dataset="noise", evaluation=evaluation, mistakes=mistakes)
    printed(evaluation)
    return page.build(content), _plots(classes), _card(classes)


def _plots(classes: tuple[str, ...]) -> str:
    import tempfile

    pairs = [(actual, predicted) for actual in classes for predicted in classes]
    rows = [
        {"arm": "kd", "actual": a, "predicted": b, "count": "3", "rev": "workspace"}
        for a, b in pairs
    ]
    renderer = VegaRenderer(
        rows, "counts", template="counts", template_dir=str(PLOTS), x="predicted", y="actual"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plots.html"
        render_html([renderer], path, PLOTS / "page.html")
        return path.read_text()


def _card(classes: tuple[str, ...]) -> str:
    evidence = Evidence("d" * 64, (0, 1), (0, 1), 0.5, 2, 2, 100, "s" * 64, "kd", (0.5,))
    return card(evidence, examples.dataset(classes), {"git_commit": "c"}, "rolekd-noise-student")


@dataclass
class _Shapes:
    """What three documents consist of, without their texts."""

    tags: Counter[str] = field(default_factory=Counter)
    around: str = ""  # of the page of plots, without its figure
    classes: set[str] = field(default_factory=set)  # that the figure names
    parts: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, report: str, plots_page: str, model_card: str) -> "_Shapes":
        reader = _Reader()
        # a figure may break a long name into lines
        reader.feed(re.sub(r"<svg.*?</svg>", _outline, report, flags=re.DOTALL))
        parts = []
        for token in MarkdownIt().enable("table").parse(model_card):
            inner = [child.type for child in token.children or ()]
            parts += [token.type, *[kind for kind in inner if kind not in ("text", "softbreak")]]
        # how the page itself finds a figure in the text that DVC has put at its end
        head, _, text = plots_page.partition("<plaintext hidden>")
        pattern = re.search(r"^const FIGURE = /(.*)/g;$", head, flags=re.MULTILINE)
        assert pattern, "the page of plots takes what DVC writes for more than text"
        figure = re.search(pattern[1], text)
        assert figure, "no figure on the page of plots"
        rows = json.loads(figure[1])["data"]["values"]
        around = head + text[: figure.start()] + text[figure.end() :]
        return cls(reader.tags, around, {row["actual"] for row in rows}, parts)


def _outline(svg: "re.Match[str]") -> str:
    """Return what may run of a figure, which must be nothing."""
    return "".join(re.findall(r"<(?:script|foreignObject|image|a|style)\b", svg[0])) + "<svg></svg>"


class _Reader(HTMLParser):
    """Counts elements with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[" ".join([tag, *sorted(name for name, _ in attrs)])] += 1

    def handle_comment(self, _: str) -> None:
        self.tags["comment"] += 1


def _less(found: object, plain: object) -> str:
    """Return what one has and the other has not."""
    one, other = Counter(found), Counter(plain)  # type: ignore[call-overload]
    return f"{dict(one - other)} more, {dict(other - one)} less"
