"""`rolekd models`: the networks that params.yaml can name, and the registered models."""

from dataclasses import asdict

import click

from rolekd.console import Table, console
from rolekd.display import say, say_json


@click.command()
@click.option("--all", "every", is_flag=True, help="Also those that can only be teachers.")
@click.option("--registry", is_flag=True, help="List registered models and their versions.")
@click.option(
    "--params",
    "params_file",
    default="params.yaml",
    help="With --registry: parameters that name the store.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with everything.")
def models(every: bool, registry: bool, params_file: str, as_json: bool) -> None:
    """List the networks: rolekd's, yours by entry point, and torchvision's.

    With --registry: the models in MLflow's registry, their versions, and how to open them.
    """
    if registry:
        _registered(params_file, as_json)
        return
    from rolekd.models import catalogue

    found = list(catalogue.entries())
    if as_json:
        say_json([asdict(entry) for entry in found])
        return
    listed = [entry for entry in found if entry.student or every or entry.origin == "yours"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("network")
    table.add_column("width")
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("student")
    table.add_column("torchvision's weights")
    for entry in listed:
        count = "cannot be built" if entry.parameters is None else f"{entry.parameters:,}"
        student, width = ("yes" if known else "no" for known in (entry.student, entry.width))
        name = f"{entry.name} (yours)" if entry.origin == "yours" else entry.name
        table.add_row(name, width, count, student, " ".join(entry.weights))
    terminal = console()
    terminal.print(table)
    if len(listed) < len(found):
        terminal.print(f"{len(found) - len(listed)} more can only be teachers: rolekd models --all")


def _registered(params_file: str, as_json: bool) -> None:
    from rolekd import params
    from rolekd.registry import versions
    from rolekd.track import store

    uri = store.resolve(params.load(params_file).track.uri)
    found = versions.listing(uri)
    if as_json:
        say_json([asdict(entry) for entry in found])
        return
    terminal = console()
    if not found:
        terminal.print("no registered model yet; dvc repro registers one")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("model")
    table.add_column("version", justify="right")
    table.add_column("alias")
    for heading in ("bits", "accuracy %", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("registered, UTC", no_wrap=True)
    for entry in found:
        table.add_row(
            entry.name,
            str(entry.number),
            ", ".join(entry.aliases),
            entry.tags.get("weight_bits", ""),
            f"{100 * float(accuracy):.2f}" if (accuracy := entry.tags.get("test_accuracy")) else "",
            f"{int(size):,}" if (size := entry.tags.get("bytes")) else "",
            entry.registered[:16].replace("T", " "),
        )
    terminal.print(table)
    say(
        "",
        f"classify with one: rolekd predict --model models:/{found[0].name}/{found[0].number} FILE",
    )
