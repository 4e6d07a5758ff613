"""Stage plan."""

import click

from rolekd.cli import run
from rolekd.outputs import Outputs
from rolekd.stages.plan import plan


@click.command()
def main() -> None:
    """Check the arms and write what they ask for."""
    plan(Outputs())


if __name__ == "__main__":
    run(main, "plan")
