"""Stage prepare."""

import click

from rolekd.cli import run
from rolekd.stages.stage import open_stage


@click.command()
def main() -> None:
    """Read the source that params.yaml names, split it and compute its statistics."""
    with open_stage("prepare") as stage:
        from rolekd.cli.progress import Bar
        from rolekd.stages.prepare import prepare

        with Bar() as bar:
            prepare(stage, bar.show)


if __name__ == "__main__":
    run(main, "prepare")
