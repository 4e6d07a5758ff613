"""Stage export."""

import click

from rolekd.cli import run
from rolekd.stages.stage import open_stage


@click.command()
def main() -> None:
    """Export the student and check the graph on every test image."""
    with open_stage("export") as stage:
        from rolekd.stages.export import export

        export(stage)


if __name__ == "__main__":
    run(main, "export")
