"""Stage evaluate."""

import click

from rolekd.cli import run
from rolekd.stages.stage import open_stage


@click.command()
def main() -> None:
    """Compare the arms on the test images."""
    with open_stage("evaluate") as stage:
        from rolekd.stages.evaluate import evaluate

        evaluate(stage)


if __name__ == "__main__":
    run(main, "evaluate")
