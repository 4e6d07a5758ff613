"""What decides a search of a study, and what does not."""

import pytest
import torch
from studies import STUDY

from rolekd import yamlfiles
from rolekd.evidence import design
from rolekd.evidence.plan import Plan, WaitsError
from rolekd.train import devices


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yamlfiles.dump(STUDY))
    return design.load(path)


def keys(study, digest="data"):
    """Return the searches that cells wait for."""

    def found(search):
        raise WaitsError(search)

    waits = set()
    data = next(iter(study.data))
    plan = Plan(study, data, digest, {}, found)
    for cell in study.cells():
        if cell.data != data:
            continue
        try:
            plan.training(cell)
        except WaitsError as wait:
            waits.add(wait.search.key)
    return waits


def test_a_search_on_record_counts_whatever_trains_what_follows(study, monkeypatch):
    ours = keys(study)
    assert ours
    assert ours != keys(study, "other data")
    monkeypatch.setattr(devices, "resolve", lambda _: torch.device("cuda"))
    assert ours == keys(study)
