"""Reading YAML from anybody, as DVC reads it: version 1.2, each key once.

DVC and rolekd read the same files, so they must agree on what these say: the library is the
same. What an alias repeats is counted before anything is built, since a few hundred bytes of
aliases can stand for more than any memory holds.
"""

import io
import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import ComposerError
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    Event,
    NodeEvent,
    ScalarEvent,
)

from rolekd import files
from rolekd.errors import InputError

# the worst text of this size takes some seconds
MOST_BYTES = 2**17
MOST_DEPTH = 32
# values and characters of a text in which every alias is written out
MOST_EXPANDED = 2 * MOST_BYTES
_SHOWN = 120
# what the constructors of numbers, dates and the like raise for values that are none
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def load(path: Path | str, remedy: str = "check the path") -> Any:
    """Read a YAML file.

    Args:
        path: of the file.
        remedy: what to do where there is none, or it cannot be read.

    Raises:
        InputError: the file is missing, too large, or not valid YAML; one line that names it.
    """
    try:
        text = files.read_bytes(path, MOST_BYTES).decode()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid YAML ({error}); write it as UTF-8") from error
    return parse(text, str(path))


def parse(text: str, origin: str) -> Any:
    """Return the value of a YAML text; `origin` names it in errors, which are `InputError`s."""
    try:
        _Size().check(text)
        return _reader().load(text)
    except DuplicateKeyError as error:  # its own message holds the values, perhaps secret ones
        key = re.search(r'found duplicate key "(.{1,60}?)" with value', error.problem or "")
        name = key[1] if key else "a key"
        raise InputError(
            f"{origin}: {_place(error)}{name} is given twice; remove one of them"
        ) from None
    except (YAMLError, *_BROKEN) as error:
        raise InputError(
            f"{origin}: not valid YAML ({_place(error)}{_reason(error)}); mend the syntax"
        ) from None


def dump(value: Any) -> str:
    """Return a JSON value as YAML text that `parse` reads back, keys in their order."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    # ruamel writes some line breaks of Unicode so that it reads others
    writer.allow_unicode = json.dumps(value, ensure_ascii=False).isprintable()
    writer.width = 2 * MOST_BYTES  # a key that is broken over lines is not read back
    stream = io.StringIO()
    writer.dump(value, stream)
    return stream.getvalue()


class _Constructor(SafeConstructor):
    """ruamel's safe constructor, which says of a bad number or date where it stands."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except _BROKEN as error:
            kind = str(node.tag).rpartition(":")[2]
            raise ConstructorError(
                None, None, f"not a valid {kind}: {error}", node.start_mark
            ) from error


class _Size:
    """How large a text is once its aliases are written out, found without building anything."""

    def __init__(self) -> None:
        self._total = 0
        # anchor -> size of its value; None: the value is still open
        self._sizes: dict[str, int | None] = {}
        # of each open collection: its anchor, and the total when it began
        self._open: list[tuple[str | None, int]] = []

    def check(self, text: str) -> None:
        """Refuse a text that is too deep or too large, or an alias that holds itself."""
        for event in _reader().parse(text):
            self._take(event)
            if len(self._open) > MOST_DEPTH:
                raise _refusal(f"more than {MOST_DEPTH} levels in one another", event)
            if self._total > MOST_EXPANDED:
                raise _refusal("its aliases stand for too much", event)

    def _take(self, event: Event) -> None:
        if isinstance(event, CollectionEndEvent):
            anchor, before = self._open.pop()
            if anchor is not None:
                self._sizes[anchor] = self._total - before
        elif isinstance(event, AliasEvent):
            size = self._sizes.get(event.anchor, 0)  # an unknown one is refused by the composer
            if size is None:
                raise _refusal(f"alias {event.anchor} is inside its own value", event)
            self._total += size
        elif isinstance(event, ScalarEvent | CollectionStartEvent):
            self._begin(event)

    def _begin(self, event: NodeEvent) -> None:
        before = self._total
        self._total += 1
        if isinstance(event, ScalarEvent):
            self._total += len(event.value)
            if event.anchor is not None:
                self._sizes[event.anchor] = self._total - before
            return
        self._open.append((event.anchor, before))
        if event.anchor is not None:
            self._sizes[event.anchor] = None


def _reader() -> YAML:
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = _Constructor
    return reader


def _refusal(problem: str, event: Event) -> ComposerError:
    return ComposerError(None, None, problem, event.start_mark)


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: " if mark is not None else ""


def _reason(error: Exception) -> str:
    problem = error.problem if isinstance(error, MarkedYAMLError) else None
    text = " ".join(str(problem or error).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
