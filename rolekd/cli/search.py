"""`rolekd search`, `worker` and `status`: trainings on one machine or many."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from rolekd.console import Table, console
from rolekd.display import say_json
from rolekd.errors import InputError

_DEFAULT_STORAGE = "sqlite:///.rolekd/optuna.db"

_storage = click.option(
    "--storage",
    envvar="ROLEKD_STORAGE",
    default=_DEFAULT_STORAGE,
    show_default=True,
    help="URL of the search's database; or ROLEKD_STORAGE, which `ps` does not show.",
)


@click.command()
@click.option("--role", required=True, type=click.Choice(["teacher", "student"]))
@click.option("--storage", envvar="ROLEKD_STORAGE", help="URL of a database other than SQLite.")
@click.option("--artifacts", envvar="ROLEKD_ARTIFACTS", help="s3://BUCKET/PREFIX or a folder.")
def search(role: str, storage: str | None, artifacts: str | None) -> None:
    """Search a schedule for one role, like the stage of dvc.yaml, but without DVC.

    The project's params.yaml configures it. If it is interrupted, the same command continues it.
    """
    if not Path("pipelines", "search.py").is_file():
        raise InputError("pipelines/search.py: not found; run this in the project's folder")
    given = {"ROLEKD_STORAGE": storage, "ROLEKD_ARTIFACTS": artifacts}
    environment = {**os.environ, **{key: value for key, value in given.items() if value}}
    command = [sys.executable, "-m", "pipelines.search", "--role", role]
    sys.exit(subprocess.run(command, env=environment).returncode)


@click.command()
@_storage
@click.option(
    "--artifacts",
    envvar="ROLEKD_ARTIFACTS",
    help="Artifact store, if its address is not the one that the work was started with.",
)
@click.option("--study", help="Work on this study only, until it is finished.")
@click.option(
    "--wait",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0, 1e6),
    help="Seconds to wait for work before it ends.",
)
@click.option(
    "--workers",
    default="1",
    show_default=True,
    help="Processes, or auto: one on each GPU, or one for every `threads` cores of a training.",
)
def worker(
    storage: str, artifacts: str | None, study: str | None, wait: float, workers: str
) -> None:
    """Work on jobs that were started elsewhere: searches, students of arms, studies.

    It takes tasks of the storage's unfinished studies, oldest first, until all are finished. It
    needs the same versions as the other workers, the database and the artifact store, but no file
    of the project. Workers can be added or killed at any time; the result stays the same.
    """
    from rolekd.cli.working import work

    work(storage, artifacts, study, wait, workers)


@click.command()
@_storage
@click.option("--study", help="Name of one study.")
@click.option("--all", "every", is_flag=True, help="Also finished and paused ones.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with everything.")
def status(storage: str, study: str | None, every: bool, as_json: bool) -> None:
    """Show tasks, members, workers at work, the best lineage of a search, and the time left.

    It shows the storage's studies that are being worked on; if there are none, the unfinished
    ones; if there are none either, the last of each kind.
    """
    from rolekd.cli.status import status as read
    from rolekd.fleet import studies

    found: list[dict[str, Any]] = []
    faults: list[str] = []
    begun = [] if study else _studies(faults)
    if study:
        found.append(read(studies.JobStudy.open(storage, study)))
    # records of studies may have come from elsewhere, without a storage
    elif storage != _DEFAULT_STORAGE or not begun or Path(".rolekd", "optuna.db").exists():
        for opened, fault in studies.each_open(storage):
            if opened is None:
                faults.append(fault)
            else:
                found.append(read(opened))
    if as_json:
        say_json([*found, *begun])
        return
    terminal = console()
    shown = found if study or every else _of_interest(found)
    for each in shown:
        terminal.print(_line(each), soft_wrap=True)
        if study or every or not each["finished"]:
            terminal.print(_table(each))
    if len(shown) < len(found):
        terminal.print(f"{len(found) - len(shown)} more: rolekd status --all")
    for fault in faults:
        terminal.print(fault, soft_wrap=True)
    for one in begun:
        terminal.print(_of_study(one), soft_wrap=True)
    if not found and not faults and not begun:
        terminal.print("this storage is empty")


def _of_interest(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the studies at work; else the unfinished ones; else the last of each kind."""
    unfinished = [each for each in found if not each["finished"]]
    at_work = [each for each in unfinished if any(worker["alive"] for worker in each["workers"])]
    last = {(each["kind"], each.get("role")): each for each in found}
    return at_work or unfinished or list(last.values())


def _studies(faults: list[str]) -> list[dict[str, Any]]:
    """Return how far the unfinished studies are whose records are below this folder."""
    from rolekd.evidence import status

    found = []
    for records in status.all_records():
        if isinstance(records, str):
            faults.append(records)
        else:
            found.append(status.of(records))
    return [one for one in found if not one["finished"]]


def _of_study(found: dict[str, Any]) -> str:
    from rolekd.evidence import status

    return f"{found['folder']}: {status.sentence(found)}"


def _line(found: dict[str, Any]) -> str:
    tasks, best = found["tasks"], found.get("best")
    parts = [f"{found['study']} ({found.get('algorithm', found['kind'])})"]
    for key, text in (
        ("generations", "generation {} of {} done"),
        ("rungs", "rung {} of {} of the final done"),
    ):
        if (counted := found.get(key)) and counted["total"]:
            parts.append(text.format(counted["done"], counted["total"]))
    parts.append(f"{tasks['done']} of {tasks['total']} tasks")
    if winner := found.get("winner"):
        parts.append(f"{winner['name']} wins: {winner['best']} is {winner['evidence']}")
    elif fault := found.get("fault"):
        parts.append(fault)
    elif best:
        line = " > ".join(map(str, best["line"]))
        parts.append(
            f"best of {found['algorithm']} {best['accuracy']:.2%} after {best['epochs']} epochs, "
            f"lineage {line}"
        )
    if found["finished"]:
        parts.append("finished")
    elif not any(worker["alive"] for worker in found["workers"]):
        parts.append("no active workers")
    elif found["seconds_left"] is not None:
        parts.append(f"about {found['seconds_left'] / 60:.1f} min left")
    return "; ".join(parts)


def _table(found: dict[str, Any]) -> Table:
    """Return the members, without empty columns, such as the workers' once all is done."""
    at_work = {worker["member"]: worker for worker in found["workers"]}
    rows = []
    for member in found["members"]:
        running = at_work.get(member["member"]) if member["state"] == "running" else None
        accuracy, parent = member["accuracy"], member["parent"]
        rows.append(
            {
                "member": f"{member['generation']}/{member['member']}",
                "what": member["what"],
                "parent": "" if parent is None else str(parent),
                "state": member["state"] if running is None or running["alive"] else "lost",
                "accuracy": "" if accuracy is None else f"{accuracy:.2%}",
                "worker": running["worker"] if running else "",
                "last seen": f"{running['seen_seconds_ago']:.0f} s ago" if running else "",
            }
        )
    filled = [key for key in rows[0] if any(row[key] for row in rows)] if rows else ["member"]
    table = Table(*filled)
    for row in rows:
        table.add_row(*(row[key] for key in filled))
    return table
