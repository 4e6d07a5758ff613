"""What MLproject's entry points call: a stage, or the whole, through DVC.

`dvc repro` where every parameter stays as it is, else `dvc exp run` with the given ones.
"""

import subprocess
import sys
from typing import Any

import click

from rolekd import params, yamlfiles
from rolekd.cli import root, run
from rolekd.errors import InputError

_SHORT = {"bits": "student.bits", "epochs": "student.training.epochs"}


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def main(words: tuple[str, ...]) -> None:
    """Run a stage (without one: all) with parameters `--KEY VALUE`; an empty VALUE is not given."""
    stage = [] if not words or words[0].startswith("--") else [words[0]]
    values = _values(words[len(stage) :])
    _check(values)
    settings = [f"--set-param={key}={value}" for key, value in values.items()]
    command = ["exp", "run", *settings] if settings else ["repro"]
    code = subprocess.run([sys.executable, "-m", "dvc", *command, *stage], check=False).returncode
    if code:  # DVC names a missing input, but not where it comes from
        root(["doctor", "--faults"], standalone_mode=False)
    sys.exit(code)


def _values(words: tuple[str, ...]) -> dict[str, str]:
    """Return the keys of params.yaml that were given a value."""
    names, values = words[::2], words[1::2]
    if len(names) != len(values) or not all(name.startswith("--") for name in names):
        raise InputError(f"{' '.join(words)}: not a list of --KEY VALUE; name each with its value")
    keys = [_SHORT.get(name[2:], name[2:]) for name in names]
    return {key: value for key, value in zip(keys, values, strict=True) if value}


def _check(values: dict[str, str]) -> None:
    """Refuse what params.yaml would not take, before DVC writes it there."""
    content: Any = yamlfiles.load("params.yaml", "run in the project's folder") or {}
    if not isinstance(content, dict):
        params.parse(content, "params.yaml")
    for key, value in values.items():
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise InputError(
                    f"{key}: {section} is not a section; `rolekd params` lists the keys"
                )
        place[last] = yamlfiles.parse(value, key)
    params.parse(content, "parameters")


if __name__ == "__main__":
    run(main, "project")
