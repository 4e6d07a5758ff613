import pytest
from declared import declare

from rolekd import plugins
from rolekd.errors import InputError
from rolekd.search.trainer import find_trainer


def test_what_a_package_declares_is_found_by_group_and_name(tmp_path, monkeypatch):
    declare(tmp_path, monkeypatch, "rolekd.tests", {"one": "own:ONE", "two": "own:TWO"}, "ONE = 1")
    assert plugins.names("rolekd.tests") == ["one", "two"]
    assert plugins.names("rolekd.others") == []
    assert plugins.load("rolekd.tests", "one", "number one") == 1
    with pytest.raises(InputError, match=r"^number two: its entry point own:TWO does not load"):
        plugins.load("rolekd.tests", "two", "number two")


def test_a_trainer_that_does_not_load_is_one_line(tmp_path, monkeypatch):
    declare(tmp_path, monkeypatch, "rolekd.trainers", {"mine": "absent:Mine"}, "")
    with pytest.raises(InputError, match=r"^trainer 'mine': its entry point .*; mend or reinst"):
        find_trainer("mine")
