"""`rolekd summary`: what the last `dvc repro` came to."""

import json
from pathlib import Path

import click
from rich.console import Console

from rolekd import files

_EVALUATE = Path("outputs/evaluate")
_VERSION = Path("outputs/register/version.json")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def summary(as_json: bool) -> None:
    """Print the comparison of the arms, the registered model, and how to see more."""
    arms = files.read_json(_EVALUATE / "arms.json")
    version = files.read_json(_VERSION)
    exported = files.read_json("outputs/export/metrics.json")
    teacher = files.read_json(_EVALUATE / "metrics.json")["teacher_accuracy"]
    if as_json:
        facts = {"teacher_accuracy": teacher, "exported": exported, "model": version}
        click.echo(json.dumps({**arms, **facts}, indent=2))
        return
    from rolekd.data import dataset as datasets
    from rolekd.report.datafiles import load_predictions
    from rolekd.report.findings import headline, remarks
    from rolekd.report.tables import summarise
    from rolekd.report.terminal import arms_table

    logits, labels = load_predictions(_EVALUATE / "predictions.npz")
    evaluation = summarise(logits, labels, datasets.load("outputs/data").classes)
    console = Console(width=None if Console().is_terminal else 110, highlight=False)
    console.print(arms_table(evaluation))
    console.print(
        f"\n{headline(evaluation)}", *(f"- {line}" for line in remarks(evaluation)), sep="\n"
    )
    click.echo(
        f"\nteacher: {100 * teacher:.2f} % in full precision\n"
        f"exported: {100 * exported['accuracy']:.2f} %, {exported['bytes']} bytes, equal to the "
        f"integer evaluation on {exported['argmax_equal']} of {exported['images']} test images\n"
        f"registered: {version['name']} version {version['version']} ({version['uri']})\n"
        "report: outputs/report/index.html\n"
        "compare runs: make ui"
    )
