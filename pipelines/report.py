"""Stage report: tables and figures of the run as one HTML page."""

import click

from pipelines.stage import OUTPUTS, open_stage
from rolekd.cli import run


@click.command()
def main() -> None:
    """Write the page that opens without a network."""
    with open_stage("report") as stage:
        from rolekd import files
        from rolekd.report.gather import gather
        from rolekd.report.measured import costs
        from rolekd.report.page import build
        from rolekd.track import provenance

        content = gather(OUTPUTS, stage.params, provenance.collect().describe(), costs(OUTPUTS))
        page = stage.folder / "index.html"
        files.write_text(page, build(content))
        stage.run.log_artifact(page)
        stage.finish({})
        click.echo(f"{page}: open it in a browser")


if __name__ == "__main__":
    run(main, "report")
