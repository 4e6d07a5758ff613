"""Pages of Markdown, as far as the site and the tests read them: links, anchors, commands."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(r"^ *(```+|~~~+)([^\n]*)\n(.*?)^ *\1 *$\n?", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?: {4}[^\n]*\n(?:\n(?= {4}))?)+")
_SPAN = re.compile(r"(?<!`)(`+)(?!`)((?:(?!\n\s*\n).)+?)(?<!`)\1(?!`)", re.DOTALL)  # of code
_PLACES = ("*.md", "*/*.md", "docs/*/*.md", ".dvc/plots/*.md", ".github/**/*.md")
_SHELL = ("", "sh", "bash", "console")
_ENDS = (";", "|", "&&", "||", "&")  # of a command in a line


@dataclass(frozen=True)
class Page:
    """A page; `name` is its path in the project."""

    name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return ROOT / self.name

    @cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without blocks of code."""
        return _INDENTED.sub("\n", _FENCE.sub("\n", self.text))

    @property
    def links(self) -> list[str]:
        """What it links to, and the pictures it shows."""
        prose = _SPAN.sub("", self.prose)
        inline = re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", prose)
        return inline + re.findall(r"(?:src|srcset|href)=\"([^\" ]+)", prose)

    @cached_property
    def anchors(self) -> set[str]:
        """Those of its headings, as forges make them."""
        titles = re.findall(r"^#{1,6} +(.+?) *#*$", self.prose, re.MULTILINE)
        slugs = [slug(title) for title in titles]
        again: Counter[str] = Counter()
        found = set()
        for one in slugs:
            found.add(f"{one}-{again[one]}" if again[one] else one)
            again[one] += 1
        return found | set(re.findall(r"(?:id|name)=\"([^\"]+)\"", self.prose))

    @property
    def commands(self) -> Iterator[list[str]]:
        """Yield the commands of its shell blocks, each as its words."""
        fenced = [body for _, kind, body in _FENCE.findall(self.text) if kind.strip() in _SHELL]
        for block in [*fenced, *_INDENTED.findall(_FENCE.sub("\n", self.text))]:
            for line in block.replace("\\\n", " ").splitlines():
                yield from _commands(line)

    @property
    def spans(self) -> list[list[str]]:
        """The words of code within its sentences."""
        found = spans_of(self.prose)
        return [words for text in found if (words := _bare(_words(text)))]


def all_pages() -> list[Page]:
    """Return every page that somebody wrote: not the tables that records of studies come to."""
    return [Page(str(path.relative_to(ROOT))) for one in _PLACES for path in sorted(ROOT.glob(one))]


def spans_of(prose: str) -> list[str]:
    """Return the code within sentences, each on one line."""
    return [" ".join(text.split()) for _, text in _SPAN.findall(prose)]


def slug(title: str) -> str:
    """Return the anchor of a heading."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def _commands(line: str) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*_words(line), ";"]:
        if word in _ENDS:
            yield from [_bare(command)] if _bare(command) else []
            command = []
        else:
            command.append(word)


def _words(line: str) -> list[str]:
    """Split as a shell does; what is none of its lines has no words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
    lexer.commenters, lexer.whitespace_split = "#", True
    try:
        return list(lexer)
    except ValueError:
        return []


def _bare(words: list[str]) -> list[str]:
    """Drop the prompt, variables before a command, and redirections after it."""
    while words and (words[0] == "$" or re.match(r"[A-Z_]+=", words[0])):
        words = words[1:]
    for index, word in enumerate(words):
        if word in ("<", ">", ">>"):
            return words[:index]
    return words
