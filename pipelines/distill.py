"""Stage distill."""

import click

from rolekd.cli import run
from rolekd.stages.stage import open_stage


@click.command()
@click.option("--arm", required=True, help="A row of compare.arms.")
def main(arm: str) -> None:
    """Train the students of one arm."""
    tags = {"role": "student", "arm": arm}
    with open_stage("distill", arm, tags=tags, forks=True, team=True) as stage:
        from rolekd.cli.progress import TaskProgress, TrainingProgress
        from rolekd.stages.distill import distill

        with TrainingProgress() as progress, TaskProgress(f"students of {arm}") as tasks:
            distill(stage, arm, [progress], tasks)


if __name__ == "__main__":
    run(main, "distill")
