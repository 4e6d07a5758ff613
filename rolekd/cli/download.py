"""`rolekd download`: fetch public raw data."""

from pathlib import Path

import click

from rolekd.display import say


@click.command()
@click.argument("name")
@click.option("--to", "folder", help="Folder to make.  [default: data/raw/NAME]")
def download(name: str, folder: str | None) -> None:
    """Download NAME (cifar10, cifar100 or fashion-mnist) and check it."""
    from rolekd.sources import download as downloads

    target = Path(folder or f"data/raw/{name}")
    downloads.download(name, target)
    say(f"{target}: complete; dvc add {target} versions it")
