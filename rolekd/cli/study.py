"""`rolekd study`: run a study, show its progress, write its results."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rolekd.console import Table, console
from rolekd.display import say, say_json

if TYPE_CHECKING:
    from rolekd.evidence.records import Records


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--records",
    "parent",
    default=Path("results/records"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the records of all studies; this one's is DATE-NAME in it.",
)
@click.option("--data", multiple=True, help="Only this data set of the study; may be repeated.")
@click.option("--arm", "arms", multiple=True, help="Only this arm; may be repeated.")
@click.option("--show", is_flag=True, help="Only show what is done, and the time left.")
@click.option("--tables", is_flag=True, help="Only write tables and figures from what is done.")
@click.option(
    "--into",
    "pages",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write parts of the answers between the marks of this page; may be repeated.",
)
@click.option("--check", is_flag=True, help="Only check the file, and show what it would do.")
@click.option("--retry", is_flag=True, help="Try failed cells again.")
@click.option(
    "--workers",
    default="auto",
    show_default=True,
    help="Processes, or auto: one on each GPU, or one for every `threads` cores of a training.",
)
@click.option("--json", "as_json", is_flag=True, help="With --show: print JSON.")
def study(
    file: Path,
    parent: Path,
    data: tuple[str, ...],
    arms: tuple[str, ...],
    show: bool,
    tables: bool,
    pages: tuple[Path, ...],
    check: bool,
    retry: bool,
    workers: str,
    as_json: bool,
) -> None:
    """Run the study in FILE, or continue it; then write its tables and figures.

    Every cell (data set, arm, search, seed) becomes a row of RECORDS/DATE-NAME/cells.csv as soon
    as it is done. If interrupted, the same command continues; with ROLEKD_STORAGE `rolekd worker`
    helps from other machines. A study that has started cannot be changed: docs/study.md.
    """
    from rolekd.evidence import design, status
    from rolekd.evidence.records import Records

    if check:
        found = design.load(file)
        say(*status.planned(found))
        return
    records = Records.open(file, parent)
    if tables or pages:
        _write(records, pages)
        return
    if show:
        if as_json:
            say_json(status.of(records))
            return
        console().print(study_table(status.of(records)))
        return
    from rolekd.cli.progress import StudyProgress
    from rolekd.cli.working import machine_of
    from rolekd.evidence.running import run

    if retry:
        say(f"{records.forget_faults()} failed cells are tried again")
    say(f"{records.folder}: {status.sentence(status.of(records))}")
    run(records, machine_of(workers), StudyProgress(), data, arms)
    _write(records, ())


def _write(records: "Records", pages: tuple[Path, ...]) -> None:
    from rolekd.evidence.pages import fill_page, write

    for path in write(records):
        say(f"written: {path}")
    for page in pages:
        say(f"{page}: {fill_page(records, page)} parts written")


def study_table(found: dict[str, object]) -> Table:
    """Return what a study has done, a row for each data set."""
    shown = Table("data set", "cells", "done", "failed", "searches", "hours left")
    rows = found["data"]
    assert isinstance(rows, list)
    for row in rows:
        left = row["seconds_left"]
        shown.add_row(
            row["name"],
            str(row["cells"]),
            str(row["done"]),
            str(row["failed"]),
            str(row["searches"]),
            "" if left is None else f"{left / 3600:.1f}",
        )
    return shown
