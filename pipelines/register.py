"""Stage register."""

import click

from rolekd.cli import run
from rolekd.stages.stage import open_stage


@click.command()
def main() -> None:
    """Register the student under the alias challenger."""
    with open_stage("register") as stage:
        from rolekd.stages.register import register

        register(stage)


if __name__ == "__main__":
    run(main, "register")
