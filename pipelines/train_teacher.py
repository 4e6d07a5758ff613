"""Stage train_teacher."""

from typing import get_args

import click

from rolekd.cli import run
from rolekd.params import TeacherName
from rolekd.stages.stage import is_wanted, open_stage


@click.command()
@click.option("--teacher", default="searched", type=click.Choice(get_args(TeacherName)))
def main(teacher: TeacherName) -> None:
    """Train the teacher with its schedule, or without a search, if an arm asks for it."""
    if not is_wanted("train_teacher", teacher):
        return
    with open_stage("train_teacher", teacher, team=True, tags={"role": "teacher"}) as stage:
        from rolekd.cli.progress import TrainingProgress
        from rolekd.stages.train_teacher import train_teacher

        with TrainingProgress() as progress:
            train_teacher(stage, teacher, [progress])


if __name__ == "__main__":
    run(main, "train_teacher")
