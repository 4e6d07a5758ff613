"""`rolekd doctor`: what is wrong here, and what to do about it."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
from rich.text import Text

from rolekd import addresses
from rolekd import params as schema
from rolekd.console import console
from rolekd.display import say, say_json, shown
from rolekd.doctor import installation, project, stores
from rolekd.doctor.finding import Finding, FindingCheck, run
from rolekd.errors import InputError
from rolekd.track import store

_COLOURS = {"ok": "green", "note": "yellow", "fault": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--faults", "only_faults", is_flag=True, help="Print only what will fail.")
@click.option(
    "--storage",
    envvar="ROLEKD_STORAGE",
    help="URL of the searches' database; default: the project's.",
)
@click.pass_context
def doctor(context: click.Context, as_json: bool, only_faults: bool, storage: str | None) -> None:
    """Check the installation, the stores and the data, each with a verdict and a remedy.

    It does not change anything. The exit code is 1 if something will fail.
    """
    found = []
    for finding in _findings(store.project_root(), storage):
        if only_faults and finding.verdict != "fault":
            continue
        found.append(finding)
        if not as_json:
            _show(finding)
    faults = sum(finding.verdict == "fault" for finding in found)
    if as_json:
        say_json([asdict(finding) for finding in found])
    elif not only_faults:
        say(f"{len(found)} checks, {faults} fault{'' if faults == 1 else 's'}")
    if faults:
        context.exit(1)


def _findings(root: Path, storage: str | None) -> Iterator[Finding]:
    """Yield what the checks find, one after the other; some take seconds."""
    try:
        values = schema.load(root / "params.yaml")
        yield Finding("params.yaml", "ok", f"{root / 'params.yaml'} is valid")
    except InputError as error:
        yield Finding("params.yaml", "fault", str(error), "correct it, or rolekd preset use digits")
        values = schema.Params()
    searches = storage or addresses.of_sqlite(root / ".rolekd" / "optuna.db")
    checks: dict[str, FindingCheck] = {
        "names": partial(_names, root, values),
        "python": installation.python,
        "environment": partial(installation.environment_place, root),
        "packages": partial(installation.packages, root),
        "threads": partial(installation.threads, values),
        "disk": partial(installation.disk, root),
        "GPU": installation.accelerator,
        "git": partial(project.repository, root),
        "data": partial(project.data, root, values),
        "outputs": partial(project.changed_outputs, root),
        "stages": partial(project.stages, root),
        "leftovers": partial(project.leftovers, root),
        "MLflow": lambda: stores.mlflow_store(store.resolve(values.track.uri, root)),
        "Optuna": partial(stores.searches, searches),
        "spool": partial(stores.spool, store.spool_folder(root)),
    }
    for name, check in checks.items():
        yield from run(name, check)


def _names(root: Path, values: schema.Params) -> Iterator[Finding]:
    """Check that the names in the params exist: augmentations, sources, networks, losses."""
    from rolekd.stages import checks

    with contextlib.chdir(root):  # files are named from there
        checks.check(values)
    yield Finding("names", "ok", "all names in params.yaml exist")


def _show(finding: Finding) -> None:
    verdict = (f"{finding.verdict:5}", _COLOURS[finding.verdict])
    remedy = f" -> {finding.remedy}" if finding.remedy else ""
    line = f" {finding.check:17} {shown(f'{finding.found}{remedy}')}"
    console().print(Text.assemble(verdict, line), soft_wrap=True)
