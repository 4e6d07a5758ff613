"""`rolekd schedule`: import, show, plot, compare and stretch schedules."""

import itertools
from pathlib import Path
from typing import Any

import click

from rolekd import files
from rolekd.augment import schedule as schedules
from rolekd.augment.policy import COPIES, OPERATIONS, describe
from rolekd.augment.schedule import Schedule
from rolekd.cli.groups import CommandGroup
from rolekd.console import Table, console
from rolekd.display import say, say_json
from rolekd.errors import InputError

_EPOCHS = click.option("--epochs", type=click.IntRange(1, 10_000), required=True)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=CommandGroup)
def schedule() -> None:
    """Import, show, plot, compare and stretch augmentation schedules."""


@schedule.command("import")
@click.argument("log", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@_EPOCHS
def import_(log: Path, out: Path, epochs: int) -> None:
    """Read a released search LOG and write it as the schedule OUT (JSON) over --epochs."""
    from rolekd.augment.logs import import_log

    imported = import_log(log, epochs)
    imported.save(out)
    say(f"{out}: {len(imported.segments)} policies over {epochs} epochs")


@schedule.command()
@click.argument("file", type=click.Path(path_type=Path))
@_JSON
def show(file: Path, as_json: bool) -> None:
    """Print a schedule: probability and magnitude of each entry in each segment."""
    loaded = schedules.load(file)
    if as_json:
        say_json(loaded.to_json(), indent=None)
    else:
        console().print(_table(loaded, str(file)))


@schedule.command()
@click.argument("named", metavar="[NAME=]FILE...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help=".png, .svg or .html")
def plot(named: tuple[str, ...], out: Path) -> None:
    """Draw schedules side by side, such as teacher=T.json student=S.json."""
    if out.suffix not in (".png", ".svg", ".html"):
        raise InputError(f"{out}: unknown kind of picture; name it .png, .svg or .html")
    loaded = dict(_named(item) for item in named)
    if len(loaded) < len(named):
        raise InputError("plot: two schedules have the same name; give NAME=FILE")
    from rolekd.report import style
    from rolekd.report.schedules import schedule_figure, schedule_page

    if out.suffix == ".html":
        files.write_text(out, schedule_page(loaded))
    else:
        style.save(schedule_figure(loaded), out)
    say(out)


@schedule.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@_JSON
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Show in which epochs two schedules differ, and how.

    A second schedule of another length is stretched to the first one's.
    """
    a, b = schedules.load(first), schedules.load(second)
    found = schedules.differences(a, b.stretch(a.epochs))
    if as_json:
        say_json(_as_json(a, b, found))
        return
    if a.epochs != b.epochs:
        say(f"{second} is stretched from {b.epochs} to {a.epochs} epochs")
    for difference in found:
        say(f"epochs {difference.start} to {difference.stop - 1}:")
        for index, old, new in difference.changes:
            say(f"  {describe(index)}: {old} -> {new}")
    if not found:
        say("no difference")


@schedule.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@_EPOCHS
def stretch(file: Path, out: Path, epochs: int) -> None:
    """Scale a schedule to another number of epochs."""
    schedules.load(file).stretch(epochs).save(out)
    say(f"{out}: {epochs} epochs")


def _named(item: str) -> tuple[str, Schedule]:
    name, separator, path = item.partition("=")
    if separator and not Path(item).exists():
        return name, schedules.load(path)
    return Path(item).stem, schedules.load(item)


def _table(shown: Schedule, title: str) -> Table:
    """One row per entry, one column per segment: probability in tenths x magnitude."""
    table = Table(
        title=f"{title}: {shown.epochs} epochs",
        caption="probability (tenths) x magnitude; a dot: the entry never acts",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("operation")
    table.add_column("copy", justify="right")
    for start, stop in itertools.pairwise([*(s for s, _ in shown.segments), shown.epochs]):
        table.add_column(f"{start}-{stop - 1}", justify="right")
    for entries in zip(*(policy.entries() for _, policy in shown.segments), strict=True):
        cells = [f"{p} x {m}" if p else "·" for _, p, m in entries]
        copy = 1 + table.row_count // len(OPERATIONS)
        table.add_row(
            entries[0].operation, str(copy), *cells, end_section=table.row_count + 1 == _HALF
        )
    return table


_HALF = len(OPERATIONS) * COPIES // 2


def _as_json(a: Schedule, b: Schedule, found: list[schedules.SegmentDifference]) -> dict[str, Any]:
    return {
        "epochs": a.epochs,
        "second_stretched_from": b.epochs if b.epochs != a.epochs else None,
        "differences": [
            {
                "start": difference.start,
                "stop": difference.stop,
                "changes": [
                    {"index": index, "what": describe(index), "first": old, "second": new}
                    for index, old, new in difference.changes
                ],
            }
            for difference in found
        ],
    }
