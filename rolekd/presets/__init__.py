"""Complete parameters of other runs, as files beside this one."""

import os
from dataclasses import dataclass
from importlib.resources import files as resources
from importlib.resources.abc import Traversable
from pathlib import Path

from rolekd import files, yamlfiles
from rolekd.errors import InputError

_SUFFIX = ".yaml"


@dataclass(frozen=True)
class Preset:
    """A params file that comes with rolekd.

    Attributes:
        name: Of the preset.
        summary: What it is for; the first line of the file.
        text: The file.
    """

    name: str
    summary: str
    text: str


def presets() -> list[Preset]:
    """Return all presets, sorted by name."""
    found = [item for item in resources(__name__).iterdir() if item.name.endswith(_SUFFIX)]
    return sorted(map(_read, found), key=lambda preset: preset.name)


def find(name: str) -> Preset:
    """Return the preset of a name."""
    known = {preset.name: preset for preset in presets()}
    if name not in known:
        raise InputError(f"no preset {name!r}; choose one of {', '.join(known)}")
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
            raise InputError(
                f"{path}: was changed, and would be lost; keep a copy, then give --force"
            )
    files.write_text(Path(os.path.realpath(path)), chosen.text)


def _present(path: Path) -> str:
    """Return what `path` holds, nothing where there is no file."""
    try:
        return files.read_bytes(path, yamlfiles.MOST_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise InputError(f"{path}: cannot be replaced ({error.strerror}); move it away") from error


def _read(item: Traversable) -> Preset:
    text = item.read_text(encoding="utf-8")
    summary = text.partition("\n")[0].removeprefix("# ")
    return Preset(item.name.removesuffix(_SUFFIX), summary, text)
