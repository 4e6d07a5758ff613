"""The addresses of MLflow's pages, as its web server has them."""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

PORT = 5000  # of the server that `rolekd ui` runs


def experiments(server: str) -> str:
    """Return the page of all experiments."""
    return f"{server}/#/experiments"


def model(server: str, name: str) -> str:
    """Return the page of a registered model."""
    return f"{server}/#/models/{quote(name)}"


def runs(server: str, experiment: str, query: str = "") -> str:
    """Return the list of an experiment's runs, the newest first, of those that a filter finds."""
    shown = {"orderByKey": "attributes.start_time", "orderByAsc": "false"}
    if query:
        shown["searchFilter"] = query
    return f"{experiments(server)}/{experiment}/runs?{urlencode(shown, quote_via=quote)}"


def comparison(server: str, experiment: str, ids: Sequence[str]) -> str:
    """Return the page that shows runs side by side."""
    chosen = {"runs": json.dumps([*ids]), "experiments": json.dumps([experiment])}
    return f"{server}/#/compare-runs?{urlencode(chosen)}"
