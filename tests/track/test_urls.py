"""The addresses of MLflow's urls."""

import pytest

from rolekd.track import urls

SERVER = "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (urls.experiments(SERVER), "experiments"),
        (urls.model(SERVER, "my model"), "models/my%20model"),
        (urls.runs(SERVER, "7"), "experiments/7/runs"),
        (urls.view(SERVER, "7", "arms"), "experiments/7/runs"),
        (urls.comparison(SERVER, "7", ["a", "b"]), "compare-runs"),
    ],
)
def test_every_page_is_beside_those_of_training_not_of_language_models(
    address: str, place: str
) -> None:
    found, _, query = address.partition("?")
    assert found == f"{SERVER}/#/{place}"
    assert "workflowType=machine_learning" in query.split("&")
