"""The addresses of MLflow's pages."""

import pytest

from rolekd.track import pages

SERVER = "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (pages.experiments(SERVER), "experiments"),
        (pages.model(SERVER, "my model"), "models/my%20model"),
        (pages.runs(SERVER, "7"), "experiments/7/runs"),
        (pages.view(SERVER, "7", "arms"), "experiments/7/runs"),
        (pages.comparison(SERVER, "7", ["a", "b"]), "compare-runs"),
    ],
)
def test_every_page_is_beside_those_of_training_not_of_language_models(
    address: str, place: str
) -> None:
    found, _, query = address.partition("?")
    assert found == f"{SERVER}/#/{place}"
    assert "workflowType=machine_learning" in query.split("&")
