"""`rolekd summary`: what the last `dvc repro` came to."""

from pathlib import Path

import click

from rolekd import files
from rolekd.console import console
from rolekd.display import say, say_json

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
        say_json({**arms, **facts})
        return
    from rolekd.data import dataset as datasets
    from rolekd.report.datafiles import load_predictions
    from rolekd.report.findings import headline, remarks
    from rolekd.report.tables import summarise
    from rolekd.report.terminal import arms_table

    logits, labels = load_predictions(_EVALUATE / "predictions.npz")
    evaluation = summarise(logits, labels, datasets.load("outputs/data").classes)
    terminal = console(width=None if console().is_terminal else 110)
    terminal.print(arms_table(evaluation))
    terminal.print("", headline(evaluation), *(f"- {x}" for x in remarks(evaluation)), sep="\n")
    say(
        "",
        f"teacher: {100 * teacher:.2f} % in full precision",
        f"exported: {100 * exported['accuracy']:.2f} %, {exported['bytes']} bytes, equal to the "
        f"integer evaluation on {exported['argmax_equal']} of {exported['images']} test images",
        f"registered: {version['name']} version {version['version']} ({version['uri']})",
        "report: outputs/report/index.html",
        "compare runs: make ui",
    )
