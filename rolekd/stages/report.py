"""Stage report: tables and figures of the run as one HTML page."""

import html
import re

from rolekd import files
from rolekd.display import say
from rolekd.outputs import Arms
from rolekd.params import Params
from rolekd.registry.versions import model_name
from rolekd.report.gather import page_content
from rolekd.report.measured import costs
from rolekd.report.page import build
from rolekd.secrets import redact
from rolekd.stages.stage import Stage
from rolekd.track import provenance, store, urls

_LONGEST_NAME = 60
_PICTURE = re.compile(r'<svg\b[^>]*\baria-label="([^"]*)".*?</svg>', re.DOTALL)


def report(stage: Stage) -> None:
    """Write the page that opens without a network."""
    outputs = stage.outputs
    arms = stage.params.compare.arms
    measured = costs(outputs, arms[Arms.load(outputs.arms).exported].teacher)
    content = page_content(
        outputs, stage.params, provenance.collect().describe(), measured, links(stage.params)
    )
    page = build(content)
    files.write_text(outputs.report, page)
    stage.run.log_artifact(outputs.report)
    for name, picture in pictures(page).items():
        stage.run.log_text(f"pictures/{name}.svg", picture)
    stage.finish()
    say(f"{outputs.report}: open it in a browser")


def links(params: Params) -> dict[str, str]:
    """Return title -> address of a report's links: of the MLflow server, or of `make ui`."""
    uri = redact(store.resolve(params.track.uri))
    shared = uri.startswith(("http://", "https://"))
    server, after = uri.rstrip("/"), ""
    if not shared:
        server, after = f"http://127.0.0.1:{urls.PORT}", " (after make ui)"
    name = model_name(params.data.name)
    return {
        f"Runs in MLflow{after}": urls.experiments(server),
        f"model {name}{after}": urls.model(server, name),
    }


def pictures(page: str) -> dict[str, str]:
    """Return name -> SVG of the page's figures, for those who look at the run instead."""
    found = {}
    for picture in _PICTURE.finditer(page):
        words = re.findall(r"[a-z0-9]+", html.unescape(picture[1]).lower())
        found["-".join(words)[:_LONGEST_NAME] or "figure"] = picture[0]
    return found
