"""`rolekd models`: the networks that params.yaml can name."""

from dataclasses import asdict

import click
from rich.table import Table

from rolekd.console import console
from rolekd.display import say_json, shown


@click.command()
@click.option("--all", "every", is_flag=True, help="Also those that can only be teachers.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, of all.")
def models(every: bool, as_json: bool) -> None:
    """List the networks: rolekd's, yours by entry point, and torchvision's."""
    from rolekd.models import catalogue

    found = list(catalogue.entries())
    if as_json:
        say_json([asdict(entry) for entry in found])
        return
    listed = [entry for entry in found if entry.student or every or entry.origin == "yours"]
    table = Table(box=None)
    table.add_column("network", no_wrap=True)
    for heading in ("whose", "width"):
        table.add_column(heading)
    table.add_column("parameters", justify="right")
    table.add_column("student")
    table.add_column("torchvision's weights")
    for entry in listed:
        count = "cannot be built" if entry.parameters is None else f"{entry.parameters:,}"
        student, width = ("yes" if known else "no" for known in (entry.student, entry.width))
        table.add_row(
            shown(entry.name), entry.origin, width, count, student, ", ".join(entry.weights)
        )
    terminal = console()
    terminal.print(table)
    if len(listed) < len(found):
        terminal.print(
            f"{len(found) - len(listed)} more can only be teachers: rolekd models --all",
            highlight=False,
        )
