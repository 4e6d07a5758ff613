"""Addresses of SQLite files: whatever a folder is called, SQLAlchemy opens what is meant."""

from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from rolekd import addresses

NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1
).filter(lambda name: name not in (".", ".."))


@pytest.mark.parametrize("name", ["plain", "feature%2Fx", "why?", "a%b?c#d@e", "50%", "ü b"])
def test_sqlalchemy_opens_the_very_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "x.db"
    file.parent.mkdir()
    engine = sqlalchemy.create_engine(addresses.of_sqlite(file))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE x (y INTEGER)"))
    engine.dispose()
    assert file.stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


@given(NAMES)
def test_there_and_back(name: str) -> None:
    path = Path("/place", name, "x.db")
    address = addresses.of_sqlite(path)
    assert addresses.sqlite_file(address) == path
    assert sqlalchemy.make_url(address).database == str(path)


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("sqlite:///mlflow.db", Path("mlflow.db")),
        ("sqlite:////tmp/a%20b/x.db?timeout=30", Path("/tmp/a b/x.db")),
        ("sqlite+pysqlite:///x.db", Path("x.db")),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql://host/sqlite:///x", None),
        ("https://host/x.db", None),
    ],
)
def test_files_of_addresses(address: str, file: Path | None) -> None:
    assert addresses.sqlite_file(address) == file


def test_relative_ones_lie_below_the_root() -> None:
    root = Path("/a%b")
    found = addresses.absolute("sqlite:///x.db?timeout=30", root)
    assert found == "sqlite+pysqlite:////a%25b/x.db?timeout=30"
    for kept in ("sqlite:////x.db", "sqlite:///:memory:", "postgresql://host/x"):
        assert addresses.absolute(kept, root) == kept
