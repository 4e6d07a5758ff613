"""Every loss of a distillation through `dvc repro`, the search included."""

import csv

import pytest
from projects import make_project

from rolekd.distill.catalogue import COMBINATIONS, LOSSES, resolve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def fresh(fresh_store, tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("methods"), fresh_store)


@pytest.mark.parametrize("loss", [*LOSSES, *COMBINATIONS])
def test_a_loss_searches_and_trains(fresh, loss):
    fresh.set(
        distill={"loss": loss, "prepare_epochs": 1},
        compare={"seeds": 1},
        student={"training": {"epochs": 2}},  # one of them the first phase
    )
    output = fresh.run("dvc", "repro", "distill@kd-rolewise")
    assert "Running stage 'search_student'" in output
    rows = list(csv.DictReader((fresh.folder / "outputs/distill/kd-rolewise/epochs.csv").open()))
    for name in resolve(loss):
        assert sum(float(row[name]) for row in rows) > 0
    # what is null or a list in params.yaml is as much part of what DVC compares
    assert "up to date" in fresh.run("dvc", "repro", "distill@kd-rolewise")
    if loss == "at":
        paths = ["stage1.0.relu2", "stage2.0.relu2"]
        fresh.set(distill={"taps": {"teacher": paths, "student": paths}})
        assert "Running stage 'distill@kd-rolewise'" in fresh.run(
            "dvc", "repro", "distill@kd-rolewise"
        )
        fresh.set(distill={"taps": None})
