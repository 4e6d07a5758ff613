"""`python -m docs.words`: words that this project replaces (words.yaml), wherever they stand."""

import io
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

from rolekd import yamlfiles

ROOT = Path(__file__).parents[1]
_LIST = Path(__file__).with_name("words.yaml")
_CODE = ("rolekd", "pipelines", "benchmarks", "docs")
_PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "params.yaml",
    "docs/*.md",
    "rolekd/presets/*.yaml",
)
_READ = {tokenize.COMMENT, tokenize.STRING, tokenize.NAME}


def findings(root: Path = ROOT, words: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield a line for each word: where it is, and what to write.

    Args:
        root: Folder of the checkout.
        words: Regular expression -> replacement; None: those of words.yaml.
    """
    found = words or yamlfiles.load(_LIST, "it is part of the checkout")
    patterns = {
        re.compile(rf"\b(?:{key})\b".replace(" ", r"\s+"), re.IGNORECASE): new
        for key, new in found.items()
    }
    for path in _files(root):
        for line, text in _texts(path):
            for pattern, new in patterns.items():
                for match in pattern.finditer(text):
                    number = line + text.count("\n", 0, match.start())
                    said = " ".join(match.group().split())
                    yield f"{path.relative_to(root)}:{number}: {said!r}: {new}"


def _files(root: Path) -> list[Path]:
    code = [path for name in _CODE for path in sorted((root / name).rglob("*.py"))]
    return code + [path for pattern in _PAGES for path in sorted(root.glob(pattern))]


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of what people read: a page whole, of code comments, strings, names."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield 1, text
        return
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            if comments and comments[-1][0] + comments[-1][1].count("\n") + 1 == line:
                comments[-1] = comments[-1][0], f"{comments[-1][1]}\n{token.string.lstrip('#')}"
            else:
                comments.append((line, token.string.lstrip("#")))
        elif token.type in _READ:
            is_name = token.type == tokenize.NAME
            yield line, token.string.replace("_", " ") if is_name else token.string
    yield from comments


def main() -> None:
    """Print what is found; exit code 1 where there is something."""
    found = list(findings())
    sys.stdout.writelines(f"{line}\n" for line in found)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
