"""Stage report: tables and figures of the run as one HTML page."""

import click

from pipelines.stage import OUTPUTS, open_stage
from rolekd.cli import run
from rolekd.display import say


@click.command()
def main() -> None:
    """Write the page that opens without a network."""
    with open_stage("report") as stage:
        from rolekd import files
        from rolekd.bench.costs import costs
        from rolekd.report.gather import gather
        from rolekd.report.page import build
        from rolekd.track import provenance

        content = gather(OUTPUTS, stage.params, provenance.collect().describe(), costs(OUTPUTS))
        page = stage.folder / "index.html"
        files.write_text(page, build(content))
        stage.run.log_artifact(page)
        stage.finish({})
        say(f"{page}: open it in a browser")


if __name__ == "__main__":
    run(main, "report")
