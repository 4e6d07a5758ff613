"""docs/reference says what the code does: `make reference` writes it, and would write it so."""

import pytest

from docs import generate

PAGES = generate.pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_gives(name):
    assert (generate.FOLDER / name).read_text() == PAGES[name], "make reference writes it anew"


def test_there_are_no_other_pages():
    assert {path.name for path in generate.FOLDER.iterdir()} == set(PAGES)


def test_every_key_and_every_option_says_what_it_means():
    for name in ("params.md", "losses.md"):
        assert [line for line in PAGES[name].splitlines() if line.endswith("|  |")] == []


def test_what_changes_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "PROJECT", tmp_path)
    monkeypatch.setattr(generate, "FOLDER", tmp_path / "docs")
    monkeypatch.setattr(generate, "pages", lambda: {"one.md": "1\n", "two.md": "2\n"})
    generate.main()
    (tmp_path / "docs/two.md").write_text("old")
    capsys.readouterr()
    generate.main()
    assert capsys.readouterr().out == "docs/two.md\n"
    assert (tmp_path / "docs/two.md").read_text() == "2\n"
