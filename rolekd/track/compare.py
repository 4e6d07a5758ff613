"""Runs side by side: their numbers and differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rolekd.errors import InputError
from rolekd.track.client import reachable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

_SHORTEST_PREFIX = 6
# tags that differ between any two runs and explain nothing
_UNTOLD = ("mlflow.", "rolekd.key", "fingerprint")
_TOLD = ("mlflow.source.git.commit",)


@dataclass(frozen=True)
class RunComparison:
    """Runs side by side; each row has a value for every run, None where the run has none.

    Attributes:
        runs: id of each run.
        names: name of each run.
        metrics: last value of each metric.
        differences: parameters and tags that are not the same in all of them.
    """

    runs: list[str]
    names: list[str]
    metrics: dict[str, list[float | None]]
    differences: dict[str, list[str | None]]


def compare(references: Sequence[str], experiment: str, uri: str) -> RunComparison:
    """Look up runs and compare them.

    Args:
        references: id of a run, the beginning of one, a run's name or the name of a DVC
            experiment; of several with a name, the latest.
        experiment: MLflow experiment to look in for anything but whole ids.
        uri: MLflow tracking URI.

    Raises:
        InputError: no run fits a reference.
        RunError: MLflow does not answer.
    """
    from mlflow import MlflowClient

    with reachable(uri):
        client = MlflowClient(uri)
        known = _runs(client, experiment)
        runs = [_find(known, reference, experiment) for reference in references]
    described = [_description(run) for run in runs]
    return RunComparison(
        runs=[run.info.run_id for run in runs],
        names=[run.info.run_name for run in runs],
        metrics=_side_by_side([run.data.metrics for run in runs]),
        differences={
            key: values for key, values in _side_by_side(described).items() if len(set(values)) > 1
        },
    )


def _runs(client: "MlflowClient", experiment: str) -> list["MlflowRun"]:
    """Return all runs of an experiment, the latest first."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise InputError(f"compare: MLflow has no experiment {experiment!r}; run `dvc repro` first")
    runs: list[MlflowRun] = []
    token = None
    while True:
        page = client.search_runs(
            [found.experiment_id], order_by=["attributes.start_time DESC"], page_token=token
        )
        runs += page
        token = page.token
        if not token:
            return runs


def _find(runs: Sequence["MlflowRun"], reference: str, experiment: str) -> "MlflowRun":
    """Return the latest run that a reference names; of an experiment's, one that is not a child."""
    for run in runs:
        begins = len(reference) >= _SHORTEST_PREFIX and run.info.run_id.startswith(reference)
        if begins or reference == run.info.run_name:
            return run
    for run in sorted(runs, key=lambda run: "mlflow.parentRunId" in run.data.tags):
        if reference == run.data.tags.get("dvc.experiment"):
            return run
    raise InputError(
        f"compare: no run of {experiment} has the id, name or DVC experiment {reference!r}; "
        "`make ui` lists them"
    )


def _description(run: "MlflowRun") -> dict[str, str]:
    tags = {
        key.removeprefix("mlflow.source."): value
        for key, value in run.data.tags.items()
        if key in _TOLD or not key.startswith(_UNTOLD)
    }
    return {**run.data.params, **tags}


def _side_by_side(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row.get(key) for row in rows] for key in sorted(set().union(*rows))}
