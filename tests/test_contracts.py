"""import-linter holds a package's public names: on a small library with one fault at a time."""

from pathlib import Path

import grimp
import pytest
from contracts import PublicNames

SOUND = {
    "__init__": "",
    "shop.__init__": '"""Sells."""\n__all__ = ["Till", "counter", "back"]\nclass Till: ...\n',
    "shop.counter": "from lib.shop import store\n",
    "shop.store": "",
    "shop.back.__init__": "from lib.shop.back import office\n__all__ = ['door']\n",
    "shop.back.door": "from lib.shop.back import office\n",
    "shop.back.office": "",
    "street": "from lib.shop import Till, counter\nfrom lib.shop.back import door\n",
}


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """Make the library, some of its files changed, and return what the contract finds."""

    def find(changed: dict[str, str], most: int = 3) -> list[str]:
        for name, text in {**SOUND, **changed}.items():
            path = tmp_path / "lib" / f"{name.replace('.', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        graph = grimp.build_graph("lib", cache_dir=None)
        contract = PublicNames("names", {}, {"root": "lib", "most": str(most)})
        return contract.check(graph, verbose=False).metadata["faults"]

    return find


def test_a_package_may_use_all_of_itself_and_others_what_it_states(faults):
    assert faults({}) == []


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (
            {"street": "from lib.shop import store\n", "lane": "import lib.shop.store\n"},
            "lib.shop.store is not public in lib.shop, but imported by lib.lane, lib.street",
        ),
        (
            {"shop.counter": "from lib.shop.back import office\n"},
            "lib.shop.back.office is not public in lib.shop.back, but imported by lib.shop.counter",
        ),
        (
            {"shop.back.__init__": "", "shop.counter": "", "street": ""},
            "lib.shop.back: states no public names; add __all__",
        ),
        (
            {"shop.back.__init__": "__all__ = ['door', 'window']\n"},
            "lib.shop.back: window in __all__ is neither a module nor bound; remove it",
        ),
    ],
)
def test_each_fault_is_a_line(faults, changed, fault):
    assert faults(changed) == [fault]


def test_there_is_a_most_of_names(faults):
    assert faults({}, most=2) == ["lib.shop: states 3 public names, 2 at most"]


def test_reading_names_runs_no_package(faults, tmp_path: Path):
    text = f"open({str(tmp_path / 'ran')!r}, 'w')\n{SOUND['shop.__init__']}"
    assert faults({"shop.__init__": text}) == []
    assert not (tmp_path / "ran").exists()
