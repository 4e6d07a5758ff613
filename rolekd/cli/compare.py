"""`rolekd compare`: runs side by side in a terminal."""

from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.text import Text

from rolekd import params
from rolekd.console import Table, console
from rolekd.display import say_json, shown
from rolekd.track import compare as comparing
from rolekd.track import store


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--experiment", help="MLflow experiment; default: the data's.")
@click.option("--params", "params_file", default="params.yaml", help="Parameters.")
def compare(runs: tuple[str, ...], as_json: bool, experiment: str | None, params_file: str) -> None:
    """Compare runs: RUN is an id or its beginning, or the name of a run or DVC experiment.

    `rolekd compare evaluate` shows the latest evaluation; give two ids for a comparison.
    """
    values = params.load(params_file)
    found = comparing.compare(
        runs,
        experiment or store.experiment(values.data.name),
        store.resolve(values.track.uri),
    )
    if as_json:
        say_json(asdict(found))
    else:
        _show(found)


def _show(found: comparing.RunComparison) -> None:
    terminal = console()
    for title, rows in (("Metrics", found.metrics), ("What differs", found.differences)):
        if not rows:
            continue
        table = Table(title=title, title_justify="left")
        table.add_column("")
        for name, run in zip(found.names, found.runs, strict=True):
            table.add_column(
                Text(f"{shown(name)}\n{run[:8]}"),
                justify="right" if rows is found.metrics else "left",
            )
        for key, values in rows.items():
            table.add_row(key, *_cells(values))
        terminal.print(table)


def _cells(values: Sequence[float | str | None]) -> list[str]:
    return [
        "—" if value is None else f"{value:.4g}" if isinstance(value, float) else value
        for value in values
    ]
