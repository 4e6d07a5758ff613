"""`rolekd estimate`: how long the trainings of a run will take, and how much memory."""

import click

from rolekd import params
from rolekd.console import Table, console
from rolekd.display import clock, say_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def estimate(as_json: bool) -> None:
    """Time a few steps of each network and estimate how long the stages that train will take.

    This takes a few seconds and needs prepared data (dvc repro prepare plan).
    """
    from dataclasses import asdict

    from rolekd.outputs import Outputs
    from rolekd.stages.estimate import estimate as measure

    found = measure(params.load(), Outputs())
    if as_json:
        say_json(asdict(found))
        return
    table = Table("stage", box=None)
    for name in ("trainings", "images", "at once", "memory", "about"):
        table.add_column(name, justify="right")
    for one in found.work:
        table.add_row(
            one.stage,
            str(one.trainings),
            f"{sum(one.images.values()):,}",
            str(one.processes),
            f"{found.megabytes[one.stage]:,} MB",
            clock(found.seconds[one.stage]),
        )
    total = clock(sum(found.seconds.values()))
    pace = ", ".join(f"{kind} {value:,.0f}" for kind, value in found.images_per_second.items())
    terminal = console()
    for role, text in found.networks.items():
        terminal.print(f"{role}: {text}", highlight=False, markup=False)
    terminal.print(table)
    terminal.print(
        f"At most about {total} in all, if nothing else is running. "
        f"Images per second and training: {pace}.",
        highlight=False,
    )
