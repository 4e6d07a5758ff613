"""`rolekd preset`: the params files that come with rolekd."""

from pathlib import Path

import click

from rolekd import params, presets
from rolekd.display import say, say_json
from rolekd.doctor import project


@click.group()
def preset() -> None:
    """List params files for other data and budgets; put one to use."""


@preset.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_presets(as_json: bool) -> None:
    """List the presets."""
    found = presets.presets()
    if as_json:
        say_json([{"name": p.name, "summary": p.summary} for p in found])
        return
    width = max(len(p.name) for p in found)
    for each in found:
        say(f"{each.name:{width}}  {each.summary}")


@preset.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--params", "path", default="params.yaml", show_default=True, help="File to write.")
@click.option("--force", is_flag=True, help="Overwrite a changed file.")
def use(names: tuple[str, ...], path: str, force: bool) -> None:
    """Write the preset NAMES to params.yaml; of several each changes those before it.

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
