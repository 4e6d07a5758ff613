"""The word list finds what it should in pages, comments, strings and names, and nothing here."""

import pytest

from docs import words

LIST = {"ledgers?": "study", "goes on": "continues"}


def test_no_word_of_the_list_is_in_the_project():
    assert list(words.findings()) == []


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("docs/a.md", "one\ntwo Ledgers\n", "docs/a.md:2: 'Ledgers': study"),
        ("rolekd/a.py", "x = 1\ny = 'it goes on'\n", "rolekd/a.py:2: 'goes on': continues"),
        ("rolekd/a.py", '"""One.\n\nIt goes\non."""\n', "rolekd/a.py:3: 'goes on': continues"),
        ("rolekd/a.py", "# it goes\n# on here\n", "rolekd/a.py:1: 'goes on': continues"),
        ("rolekd/a.py", "old_ledger = 1\n", "rolekd/a.py:1: 'ledger': study"),
    ],
)
def test_a_word_is_told_with_its_place_and_replacement(tmp_path, name, text, found):
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(text)
    assert list(words.findings(tmp_path, LIST)) == [found]
