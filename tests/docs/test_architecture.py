"""docs/architecture.md says which packages there are, and which way they import."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def layers() -> list[list[str]]:
    """Return the layers of the contract, top to bottom, by the names below rolekd."""
    (contract,) = [one for one in CONTRACTS["contracts"] if one["type"] == "layers"]
    rows = [layer.split(" | ") for layer in contract["layers"]]
    return [[name.removeprefix("rolekd.") for name in row] for row in rows]


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_table_of_layers_is_the_contract():
    rows = re.findall(r"^\| (`.+?) \|", section("One way of imports"), re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == layers()


def test_the_picture_points_from_what_is_imported_to_what_imports():
    place = {name: index for index, row in enumerate(layers()) for name in row}
    picture = (ROOT / "docs/packages.svg").read_text()
    arrows = [arrow.split() for arrow in re.findall(r'data-arrow="([^"]+)"', picture)]
    assert len(arrows) == picture.count('class="line"') > 10
    for used, user in arrows:
        assert place[used] > place[user], (used, user)
    assert set(re.findall(r">(\w+)</text>", picture)) == {name for one in arrows for name in one}


def test_every_package_is_on_the_page():
    packages = {path.parent.name for path in ROOT.glob("rolekd/*/__init__.py")} - {"presets"}
    named = {name for row in layers() for name in row}
    assert packages <= named


def test_what_a_question_is_answered_with_is_in_the_file():
    rows = [line for line in section("Where is ...?").splitlines() if "](" in line]
    for row in rows:
        for name, path in re.findall(r"`([\w.]+)` in \[[^]]*\]\(\.\./([^)]+)\)", row):
            *owner, last = name.split(".")
            text = (ROOT / path).read_text()
            assert re.search(rf"^\s*(?:def|class) {last}\b", text, re.MULTILINE), row
            assert not owner or f"class {owner[0]}" in text, row
    assert len(rows) > 10


def test_the_numbers_of_the_contracts_are_theirs():
    (public,) = [one for one in CONTRACTS["contracts"] if one["type"] == "public names"]
    assert f"at most {public['most']} names" in PAGE
