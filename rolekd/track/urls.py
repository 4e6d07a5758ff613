"""The addresses of MLflow's pages, as its web server has them."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

PORT = 5000  # of the server that `rolekd ui` runs
SHARED_VIEW = "mlflow.sharedViewState."  # begins the tag of an experiment that holds a view
# or the sidebar is that of language models
_TRAINING = {"workflowType": "machine_learning"}


def experiments(server: str) -> str:
    """Return the page of all experiments."""
    return f"{server}/#/experiments?{urlencode(_TRAINING)}"


def model(server: str, name: str) -> str:
    """Return the page of a registered model."""
    return f"{server}/#/models/{quote(name)}?{urlencode(_TRAINING)}"


def runs(server: str, experiment: str) -> str:
    """Return the list of an experiment's runs, the newest first."""
    shown = {"orderByKey": "attributes.start_time", "orderByAsc": "false"}
    return _runs(server, experiment, shown)


def view(server: str, experiment: str, name: str) -> str:
    """Return the list of an experiment's runs as the view shows it that a tag of it holds."""
    shown = {"viewStateShareKey": name}
    return _runs(server, experiment, shown)


def view_state(query: str, order: str, columns: Sequence[str]) -> str:
    """Return the value of a view's tag: runs that a filter finds, the largest first.

    `order` and `columns` are as filters name them: "metrics.`test_accuracy`". Ordered by anything
    but time, runs are not folded below their parents.
    """
    state = {"searchFilter": query, "orderByKey": order, "orderByAsc": False}
    return json.dumps({**state, "selectedColumns": [*columns]})


def _runs(server: str, experiment: str, shown: Mapping[str, str]) -> str:
    return f"{server}/#/experiments/{quote(experiment)}/runs?{urlencode({**shown, **_TRAINING})}"


def comparison(server: str, experiment: str, ids: Sequence[str]) -> str:
    """Return the page that shows runs side by side."""
    chosen = {"runs": json.dumps([*ids]), "experiments": json.dumps([experiment])}
    return f"{server}/#/compare-runs?{urlencode(chosen | _TRAINING)}"
