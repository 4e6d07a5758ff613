"""Stages search_teacher and search_student."""

import click

from rolekd.cli import run
from rolekd.params import Role
from rolekd.stages.stage import is_wanted, open_stage


@click.command()
@click.option("--role", required=True, type=click.Choice(["teacher", "student"]))
def main(role: Role) -> None:
    """Search the schedule of one role, if an arm asks for it."""
    name = f"search_{role}"
    if not is_wanted(name):
        return
    with open_stage(name, tags={"role": role}, forks=True) as stage:
        from rolekd.cli.progress import SearchProgress
        from rolekd.stages.search import search

        with SearchProgress(f"search of the {role}'s schedule") as progress:
            search(stage, role, [progress])


if __name__ == "__main__":
    run(main, "search")
