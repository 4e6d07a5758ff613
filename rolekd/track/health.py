"""Whether the MLflow store answers, and has the tables of this MLflow version."""

from rolekd.track.client import reachable


def count_experiments(uri: str) -> int:
    """Return the number of experiments.

    Raises:
        RunError: the store does not answer, or its tables are of another MLflow.
    """
    from mlflow import MlflowClient

    with reachable(uri, unchanged=True):
        return len(MlflowClient(uri).search_experiments())
