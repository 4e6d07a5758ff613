"""Stage augmentations."""

import click

from rolekd.cli import run
from rolekd.outputs import Outputs
from rolekd.stages.augmentations import augmentations


@click.command()
def main() -> None:
    """Write what augments the images of each arm."""
    augmentations(Outputs())


if __name__ == "__main__":
    run(main, "augmentations")
