"""Stage report: tables and figures of the run as one HTML page."""

from rolekd import files
from rolekd.display import say
from rolekd.outputs import Arms
from rolekd.report.gather import gather
from rolekd.report.measured import costs
from rolekd.report.page import build
from rolekd.stages.stage import Stage
from rolekd.track import provenance


def report(stage: Stage) -> None:
    """Write the page that opens without a network."""
    outputs = stage.outputs
    arms = stage.params.compare.arms
    measured = costs(outputs, arms[Arms.load(outputs.arms).exported].teacher)
    content = gather(outputs, stage.params, provenance.collect().describe(), measured)
    files.write_text(outputs.report, build(content))
    stage.run.log_artifact(outputs.report)
    stage.finish()
    say(f"{outputs.report}: open it in a browser")
