"""What a search says of its minutes: by a measurement that is kept, or one made elsewhere."""

import json

import pytest

from rolekd.params import parse
from rolekd.stages import pace
from rolekd.stages.pace import DISTILLED_WORK, TEACHER_WORK, Work

TEACHER, DISTILLED = Work(TEACHER_WORK, 1), Work(DISTILLED_WORK, 1)

SMALL = {
    "teacher": {"model": {"width": 2}, "training": {"batch_size": 32}},
    "student": {"model": {"width": 2}, "training": {"batch_size": 32}},
}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(pace.store, "project_root", lambda: tmp_path)
    return tmp_path


def test_what_is_kept_is_not_measured_again(digits, monkeypatch):
    params = parse(SMALL, "the test")
    pace._keep({TEACHER: 0.25, DISTILLED: 0.5}, params, digits)
    monkeypatch.setattr(pace.WorkerProcess, "start", lambda *_, **__: pytest.fail("it measures"))
    assert pace.known_or_measured([TEACHER], params, digits, {}) == {TEACHER: 0.25}


def test_what_is_missing_is_measured_in_another_process_and_kept(digits, root, monkeypatch):
    params = parse(SMALL, "the test")
    pace._keep({DISTILLED: 0.5}, params, digits)
    monkeypatch.setattr(pace, "_SECONDS", 0.05)
    found = pace.known_or_measured([TEACHER, DISTILLED], params, digits, {})
    assert found is not None
    assert 0 < found[TEACHER] < 0.25
    assert found[DISTILLED] == 0.5
    rows = json.loads((root / ".rolekd/pace.json").read_text())["seconds"]
    assert {Work(*row[:2]): row[2] for row in rows} == found
    other = Work(TEACHER_WORK, 2)  # a search may have other threads than a stage
    assert other not in pace._kept(params, digits)


@pytest.mark.parametrize("other", [{"student": {"bits": 4}}, {"augment": {"cutout": 2}}])
def test_other_parameters_have_another_pace(digits, other):
    pace._keep({TEACHER: 0.25}, parse(SMALL, "the test"), digits)
    params = parse({**SMALL, **other}, "the test")
    assert not pace._kept(params, digits)


@pytest.mark.parametrize("content", ["", "[]", "null", '{"key": 1}', '{"key": 1, "seconds": []}'])
def test_a_damaged_file_is_as_none(digits, root, content):
    params = parse(SMALL, "the test")
    pace._keep({TEACHER: 0.25}, params, digits)
    key = json.loads((root / ".rolekd/pace.json").read_text())["key"]
    (root / ".rolekd/pace.json").write_text(content.replace("1", json.dumps(key)))
    assert pace._kept(params, digits) == {}


def test_a_process_that_fails_costs_only_the_sentence(digits, monkeypatch):
    params = parse({**SMALL, "student": {"model": {"name": "nothing"}}}, "the test")
    assert pace.known_or_measured([DISTILLED], params, digits, {}) is None
