"""Stage report."""

import click

from rolekd.cli import run
from rolekd.stages.stage import open_stage


@click.command()
def main() -> None:
    """Write the page that opens without a network."""
    with open_stage("report") as stage:
        from rolekd.stages.report import report

        report(stage)


if __name__ == "__main__":
    run(main, "report")
