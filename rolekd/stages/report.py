"""Stage report: tables and figures of the run as one HTML page."""

from rolekd import files
from rolekd.display import say
from rolekd.outputs import Arms, Metrics
from rolekd.params import Params
from rolekd.registry.versions import model_name
from rolekd.report.gather import gather
from rolekd.report.measured import costs
from rolekd.report.page import build
from rolekd.secrets import redact
from rolekd.stages.stage import Stage
from rolekd.track import provenance, store

_UI = "http://127.0.0.1:5000"  # `make ui`


def report(stage: Stage) -> None:
    """Write the page that opens without a network."""
    outputs = stage.outputs
    arms = stage.params.compare.arms
    measured = costs(outputs, arms[Arms.load(outputs.arms).exported].teacher)
    content = gather(
        outputs, stage.params, provenance.collect().describe(), measured, links(stage.params)
    )
    files.write_text(outputs.report, build(content))
    stage.run.log_artifact(outputs.report)
    stage.finish(Metrics())
    say(f"{outputs.report}: open it in a browser")


def links(params: Params) -> dict[str, str]:
    """Return what a report links to -> its address: MLflow's own pages, or those of `make ui`."""
    uri = redact(store.resolve(params.track.uri))
    shared = uri.startswith(("http://", "https://"))
    pages, after = (uri.rstrip("/"), "") if shared else (_UI, " (after make ui)")
    name = model_name(params.data.name)
    return {
        f"Runs in MLflow{after}": f"{pages}/#/experiments",
        f"model {name}{after}": f"{pages}/#/models/{name}",
    }
