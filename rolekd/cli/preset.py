"""`rolekd preset`: the params files that are part of rolekd."""

from pathlib import Path

import click

from rolekd import params, presets
from rolekd.cli.groups import CommandGroup
from rolekd.console import Table, console
from rolekd.display import say, say_json
from rolekd.doctor import project


def _begun(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the presets with this beginning, for completion."""
    return [one.name for one in presets.presets() if one.name.startswith(incomplete)]


@click.group(cls=CommandGroup)
def preset() -> None:
    """List params files for other data and budgets, or use one."""


@preset.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_presets(as_json: bool) -> None:
    """List the presets."""
    found = presets.presets()
    if as_json:
        say_json([{"name": p.name, "summary": p.summary} for p in found])
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for each in found:
        table.add_row(each.name, each.summary)
    console().print(table)


@preset.command()
@click.argument("names", nargs=-1, required=True, shell_complete=_begun)
@click.option("--params", "path", default="params.yaml", show_default=True, help="File to write.")
@click.option("--force", is_flag=True, help="Overwrite a changed file.")
def use(names: tuple[str, ...], path: str, force: bool) -> None:
    """Write the preset NAMES to params.yaml; each changes the ones before it.

    `rolekd preset use photos-96 one-student` is one student of the preset photos-96.
    """
    presets.use(names, Path(path), force=force)
    name = " ".join(names)
    values = params.load(path)
    if Path(values.data.path).exists():
        say(f"{path} is {name} now; dvc repro runs it")
        return
    missing = project.missing_raw_data(values)
    say(f"{path} is {name} now; before dvc repro: {missing.found} -> {missing.remedy}")
