"""What decides a search of a study, and what does not."""

import pytest
import torch
from small_studies import STUDY

from rolekd import yamlfiles
from rolekd.evidence import design
from rolekd.evidence.cells import Plan, WaitsError
from rolekd.search import member
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


def test_a_teacher_that_the_final_trains_anew_is_augmented_as_the_one_that_is_given(tmp_path):
    arms = {
        "plain": {"distilled": False, "starts_from": "scratch"},
        "own": {"teacher": "randaugment", "augmentation": "student-schedule"},
    }

    def search(teacher):
        params = {**STUDY["data"]["digits"]["params"], "search.confirm.teacher": teacher}
        data = {"digits": {"params": params}}
        path = tmp_path / f"{teacher}.yaml"
        path.write_text(yamlfiles.dump({**STUDY, "data": data, "arms": arms}))
        study = design.load(path)

        def found(search):
            raise WaitsError(search)

        cell = next(cell for cell in study.cells() if cell.arm == "own")
        with pytest.raises(WaitsError) as waits:
            Plan(study, "digits", "data", {}, found).training(cell)
        return waits.value.search

    given, anew = search("given"), search("anew")
    assert given.key != anew.key
    for one, sections in ((given, set()), (anew, {"teacher", "taught"})):
        training = member.training(one.params, "student", one.taught)
        assert training.keys() == {"augment", "student", "distill", "device"} | sections
    assert training["taught"] == {"name": "randaugment", "schedule": None}
