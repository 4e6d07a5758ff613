"""`rolekd summary`: the results of the last `dvc repro`."""

import click

from rolekd import params
from rolekd.console import console
from rolekd.display import say, say_json
from rolekd.outputs import Arms, EvaluateMetrics, ExportedRecord, Failures, Outputs, VersionRecord


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def summary(as_json: bool) -> None:
    """Print the comparison of the arms, the registered model, and where to see more."""
    outputs = Outputs()
    arms, version = Arms.load(outputs.arms), VersionRecord.load(outputs.version)
    exported = ExportedRecord.load(outputs.verification)
    teacher = EvaluateMetrics.load(outputs.metrics("evaluate")).teacher_accuracy
    failures = Failures.load(outputs.failures).lines
    if as_json:
        facts = {"teacher_accuracy": teacher, "exported": exported.model_dump()}
        facts["failures"] = failures
        say_json({**arms.model_dump(), **facts, "model": version.model_dump()})
        return
    from rolekd.data import dataset as datasets
    from rolekd.report.datafiles import load_predictions
    from rolekd.report.finals import sentence
    from rolekd.report.findings import headline, remarks
    from rolekd.report.gather import finals_of
    from rolekd.report.tables import summarise
    from rolekd.report.terminal import arms_list, arms_table

    logits, labels = load_predictions(outputs.predictions)
    classes = datasets.load(outputs.data).classes
    evaluation = summarise(logits, labels, classes, params.load().compare)
    terminal = console(width=None if console().is_terminal else 110)
    terminal.print(arms_table(evaluation, terminal.width))
    if (listed := arms_list(evaluation, terminal.width)) is not None:
        terminal.print("", listed)
    if failures:
        terminal.print("", *(f"! {line}" for line in failures), sep="\n", markup=False)
    others = [line for line in remarks(evaluation) if line not in failures]
    terminal.print("", headline(evaluation), *(f"- {line}" for line in others), sep="\n")
    terminal.print("", *(sentence(one, role) for role, one in finals_of(outputs).items()), sep="\n")
    baseline = evaluation.arm(evaluation.baseline)
    above = 100 * (teacher - baseline.mean)
    say(
        "",
        f"teacher: {100 * teacher:.2f} % in full precision, "
        f"{abs(above):.2f} points {'above' if above >= 0 else 'below'} {baseline.name}",
        f"exported: {arms.exported}, {100 * exported.test_accuracy:.2f} %, {exported.bytes} bytes, "
        f"equal to the integer evaluation on {exported.argmax_equal} of {exported.images} "
        "test images",
        f"registered: {version.name} version {version.version} ({version.uri})",
        f"report: {outputs.report}",
        "compare runs: make ui",
    )
