"""`rolekd register`, `promote`, `rollback`: which version is the challenger, which the champion."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from rolekd import params
from rolekd.console import Table, console
from rolekd.display import say, say_json
from rolekd.outputs import Outputs, VersionRecord
from rolekd.track import store

if TYPE_CHECKING:
    from rolekd.registry.promotion import Decision

Command = Callable[..., Any]


def _shared(command: Command) -> Command:
    """Add the options that both commands have."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--params", "params_file", default="params.yaml", help="Parameters."),
        click.option("--why", default="", help="Reason, recorded on the version."),
        click.option("--name", help="Registered name; default: the data's student."),
    ):
        command = option(command)
    return command


@click.command()
@click.option("--version", type=click.IntRange(1, 2**31 - 1), help="Default: the challenger.")
@click.option("--dry-run", is_flag=True, help="Judge only.")
@click.option(
    "--data",
    default=str(Outputs().data),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Prepared data, to test an older champion on new data.",
)
@_shared
def promote(
    version: int | None,
    dry_run: bool,
    data: Path,
    name: str | None,
    why: str,
    params_file: str,
    as_json: bool,
) -> None:
    """Make a version the champion if it passes every gate; otherwise exit code 1."""
    from rolekd.registry import promotion, versions

    values = params.load(params_file)
    name, uri = _place(name, values)
    decision = promotion.promote(
        name, values.promote, uri=uri, data=data, version=version, why=why, dry_run=dry_run
    )
    if as_json:
        say_json(asdict(decision))
    else:
        _show(decision, dry_run)
    graph = Outputs().graph
    if version is None and not versions.is_file(name, decision.version, graph, uri):
        say(
            f"warning: the challenger, version {decision.version}, is not {graph}; "
            "`rolekd register` makes that the challenger",
            err=True,
        )
    if decision.refused:
        click.get_current_context().exit(1)


@click.command()
@click.argument("which", metavar="[VERSION|EXPERIMENT]", default="")
@click.option("--params", "params_file", default="params.yaml", help="Parameters.")
@click.option("--name", help="Registered name; default: the data's student.")
def register(which: str, params_file: str, name: str | None) -> None:
    """Make a registered version the challenger; by default the one of the work tree's outputs.

    A DVC experiment registers under its own name and does not change the challenger.
    """
    from rolekd.registry import versions

    name, uri = _place(name, params.load(params_file))
    if not which:
        own = VersionRecord.load(Outputs().version)
        name, which = own.name, str(own.version)
    number = versions.make_challenger(name, which, uri)
    say(f"{name}: version {number} is the challenger")


@click.command()
@_shared
def rollback(name: str | None, why: str, params_file: str, as_json: bool) -> None:
    """Make the previous champion the champion again."""
    from rolekd.registry import promotion

    name, uri = _place(name, params.load(params_file))
    left, now = promotion.rollback(name, uri=uri, why=why)
    if as_json:
        say_json({"name": name, "from": left, "to": now})
    else:
        say(f"{name}: version {now} is the champion again; it replaces version {left}")


def _place(name: str | None, values: params.Params) -> tuple[str, str]:
    """Return the registered name and the tracking URI."""
    from rolekd.registry import versions

    return name or versions.model_name(values.data.name), store.resolve(values.track.uri)


def _show(decision: "Decision", dry_run: bool) -> None:
    against = f"version {decision.previous}" if decision.previous else "no champion"
    table = Table(
        title=f"{decision.name} version {decision.version} against {against}",
        title_justify="left",
        caption="All promotions use the same test images: docs/tracking.md",
        caption_justify="left",
    )
    for heading in ("gate", "found", "wanted", "verdict"):
        table.add_column(heading)
    colours = {"pass": "green", "refused": "red", "not asked": "dim"}
    for gate in decision.gates:
        verdict = Text(gate.verdict, colours[gate.verdict])
        table.add_row(gate.name, gate.found, gate.wanted, verdict)
    console().print(table)
    if decision.moved:
        say(f"version {decision.version} is the champion now")
    elif decision.refused:
        say(f"refused by {len(decision.refused)} of {len(decision.gates)} gates")
    elif dry_run:
        say("would be promoted; run without --dry-run to promote it")
