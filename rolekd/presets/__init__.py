"""Complete parameters of other runs: the default, and what each differs in, beside this file.

Several can be laid over the default, one upon the other: photos-96, and of it one student.
"""

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken

from rolekd import files, yamlfiles
from rolekd.errors import InputError, did_you_mean

__all__ = ["Preset", "find", "presets", "use"]

_DEFAULT = "digits"
_COLUMN = 31  # of the comments in the default
_SUFFIX = ".yaml"
# mappings whose keys are your own: an overlay has them whole, or names with null those to leave out
_WHOLE = {"arms", "overrides"}
_HOW = "# `rolekd preset use {names}` wrote this; `rolekd params --schema` explains every key."


@dataclass(frozen=True)
class Preset:
    """A params file that comes with rolekd.

    Attributes:
        name: Of the preset.
        summary: What it is for; the first line of the file.
        text: The whole params file, with comments.
    """

    name: str
    summary: str
    text: str


def presets() -> list[Preset]:
    """Return all presets, sorted by name."""
    return [_read(name) for name in sorted([_DEFAULT, *_overlays()])]


def find(*names: str) -> Preset:
    """Return the preset of a name, or of several.

    What is for any data, as one-student, is laid upon the preset of the data, in whichever order
    they are named.

    Raises:
        InputError: There is no such preset, or two are of different data.
    """
    overlays = _overlays()
    known = [_DEFAULT, *overlays]
    for name in names:
        if name not in known:
            raise InputError(f"no preset {name!r}; {did_you_mean(name, sorted(known))}")
    of_data = [name for name in names if name == _DEFAULT or _names_data(overlays[name])]
    if len(of_data) > 1:
        raise InputError(f"presets {' and '.join(of_data)}: each names its data; choose one")
    return _read(*of_data, *(name for name in names if name not in of_data))


def _names_data(overlay: str) -> bool:
    return "data" in YAML(typ="safe").load(overlay)


def use(names: Sequence[str], path: Path, *, force: bool = False) -> None:
    """Write what `find` returns to `path`, atomically.

    Raises:
        InputError: `path` holds what no preset does, somebody's work, and `force` is False.
    """
    chosen = find(*names)
    if not force:
        text = _present(path)
        if text.strip() and not _is_preset(text):
            raise InputError(f"{path}: has local changes; back it up, then pass --force")
    files.write_text(Path(os.path.realpath(path)), chosen.text)


def _is_preset(text: str) -> bool:
    """Return whether a text is what we wrote, to the letter; its head names the presets."""
    found = re.search(_HOW.format(names="(.+)"), text)
    try:
        return text == find(*(found[1].split() if found else [_DEFAULT])).text
    except InputError:  # of another version of rolekd
        return False


def _present(path: Path) -> str:
    """Return what `path` holds, nothing where there is no file."""
    try:
        return files.read_bytes(path, yamlfiles.MOST_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise InputError(f"{path}: cannot be replaced ({error.strerror}); move it away") from error


def _overlays() -> dict[str, str]:
    """Return name -> text of the presets that hold only what differs from the default."""
    found = {
        item.name.removesuffix(_SUFFIX): item.read_text(encoding="utf-8")
        for item in resources(__name__).iterdir()
        if item.name.endswith(_SUFFIX)
    }
    return {name: text for name, text in found.items() if name != _DEFAULT}


def _read(*names: str) -> Preset:
    text = resources(__name__).joinpath(f"{_DEFAULT}{_SUFFIX}").read_text(encoding="utf-8")
    overlays = _overlays()
    laid = [name for name in names if name in overlays]
    if laid:
        text = _merged(laid, text, [overlays[name] for name in laid])
    return Preset(" ".join(names), text.partition("\n")[0].removeprefix("# "), text)


def _merged(names: Sequence[str], default: str, overlays: Sequence[str]) -> str:
    """Return the default with the overlays' values, and their comments where they have any."""
    yaml = YAML()
    yaml.width = 4096
    base = yaml.load(default)
    for name, overlay in zip(names, overlays, strict=True):
        _overlay(name, base, yaml.load(overlay))
    written = io.StringIO()
    yaml.dump(base, written)
    # the first paragraph of each says what the file is
    head = "\n".join(overlay.partition("\n\n")[0] for overlay in overlays)
    how = _HOW.format(names=" ".join(names))
    body = written.getvalue().partition("\n\n")[2]
    # empty lines go with the last key of what is replaced, and come with that of what replaces it
    body = re.sub(r"\n\n(?= )", "\n", body)
    body = re.sub(r"(?<=[^\n])\n(?=\w+:( *#.*)?\n)", "\n\n", body)
    return f"{head}\n{how}\n\n{body}"


def _overlay(place: str, base: CommentedMap, changes: CommentedMap) -> None:
    for key, value in changes.items():
        if key not in base:
            raise InputError(f"preset {place}: {key}: no such key; remove it")
        if key in _WHOLE and value and not any(value.values()):
            for name in value:
                del base[key][name]
            continue
        sections = isinstance(value, CommentedMap) and isinstance(base[key], CommentedMap) and value
        if sections and key not in _WHOLE:
            _overlay(f"{place}: {key}", base[key], value)
            continue
        base[key] = value
        comment = _comment(changes, key)
        if comment is not None and comment.value.startswith("#"):
            old = _comment(base, key)
            # what follows the comment's line, as an empty one, is the default's
            rest = old.value.partition("\n")[2] if old is not None else ""
            text = f"{comment.value.partition(chr(10))[0]}\n{rest}"
            token = CommentToken(text, CommentMark(_COLUMN))
            base.ca.items[key] = [None, None, token, None]


def _comment(place: CommentedMap, key: str) -> Any:
    """Return the token of the comment behind a value, None without."""
    return (place.ca.items.get(key) or [None] * 3)[2]
