"""Complete parameters of other runs: the default, and what each differs in, beside this file."""

import io
import os
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from rolekd import files, yamlfiles
from rolekd.errors import InputError, did_you_mean

__all__ = ["Preset", "find", "presets", "use"]

_DEFAULT = "digits"
_COLUMN = 31  # of the comments in the default
_SUFFIX = ".yaml"


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


def find(name: str) -> Preset:
    """Return the preset of a name."""
    known = {preset.name: preset for preset in presets()}
    if name not in known:
        raise InputError(f"no preset {name!r}; {did_you_mean(name, known)}")
    return known[name]


def use(name: str, path: Path, *, force: bool = False) -> None:
    """Write a preset to `path`, atomically.

    Raises:
        InputError: `path` holds what no preset does, somebody's work, and `force` is False.
    """
    chosen = find(name)
    if not force:
        text = _present(path)
        if text.strip() and text not in {preset.text for preset in presets()}:
            raise InputError(f"{path}: has local changes; back it up, then pass --force")
    files.write_text(Path(os.path.realpath(path)), chosen.text)


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


def _read(name: str) -> Preset:
    default = resources(__name__).joinpath(f"{_DEFAULT}{_SUFFIX}").read_text(encoding="utf-8")
    overlay = _overlays().get(name)
    text = default if overlay is None else _merged(name, default, overlay)
    return Preset(name, text.partition("\n")[0].removeprefix("# "), text)


def _merged(name: str, default: str, overlay: str) -> str:
    """Return the default with the overlay's values, and its comments where it has any."""
    yaml = YAML()
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda own, _: own.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    base, changes = yaml.load(default), yaml.load(overlay)
    _overlay(name, base, changes)
    written = io.StringIO()
    yaml.dump(base, written)
    # the first paragraph says what the file is
    head = overlay.partition("\n\n")[0]
    how = f"# `rolekd preset use {name}` wrote this; `rolekd params --schema` explains every key."
    body = written.getvalue().partition("\n\n")[2]
    return f"{head}\n{how}\n\n{body}"


def _overlay(place: str, base: CommentedMap, changes: CommentedMap) -> None:
    for key, value in changes.items():
        if key not in base:
            raise InputError(f"preset {place}: {key}: no such key; remove it")
        if isinstance(value, CommentedMap) and isinstance(base[key], CommentedMap) and value:
            _overlay(f"{place}: {key}", base[key], value)
            continue
        base[key] = value
        comment = _comment(changes, key)
        if comment is not None and comment.value.startswith("#"):
            old = _comment(base, key)
            # what follows the comment's line, as an empty one, is the default's
            rest = old.value.partition("\n")[2] if old is not None else ""
            base.yaml_add_eol_comment(comment.value.partition("\n")[0], key, _COLUMN)
            base.ca.items[key][2].value += f"\n{rest}"


def _comment(place: CommentedMap, key: str) -> Any:
    """Return the token of the comment behind a value, None without."""
    return (place.ca.items.get(key) or [None] * 3)[2]
