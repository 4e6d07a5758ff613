"""`rolekd report`: the page of a finished pipeline, also after the parameters or the code moved."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--outputs",
    default="outputs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the stages' outputs.",
)
@click.option(
    "--params", "params_file", default="params.yaml", show_default=True, help="Parameters."
)
@click.option(
    "--to",
    "target",
    default="report.html",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.",
)
def report(outputs: Path, params_file: str, target: Path) -> None:
    """Write the self-contained HTML report of the last `dvc repro`."""
    from rolekd import files, params
    from rolekd.report.gather import gather
    from rolekd.report.page import build
    from rolekd.track import provenance

    content = gather(outputs, params.load(params_file), provenance.collect().describe())
    files.write_text(target, build(content))
    click.echo(f"{target}: open it in a browser")
