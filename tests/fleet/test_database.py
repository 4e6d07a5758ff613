import sqlite3
from functools import partial

import pytest
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from rolekd.errors import RunError
from rolekd.fleet.database import engine_options, patiently

URL = "postgresql://ann:secret@host/db"


def failing(times, error):
    calls = []

    def action():
        calls.append(None)
        if len(calls) <= times:
            raise error
        return len(calls)

    return action


def outage(message="connection to ann:secret refused"):
    return OperationalError("select", {}, ConnectionError(message))


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Time passes by sleeping only; returns the naps."""
    naps = []
    monkeypatch.setattr("rolekd.fleet.database.time.sleep", naps.append)
    monkeypatch.setattr("rolekd.fleet.database.time.monotonic", lambda: sum(naps))
    return naps


def test_an_outage_is_waited_for(clock):
    resets = []
    reset = partial(resets.append, None)
    assert patiently(failing(10, outage()), URL, (OperationalError,), reset=reset) == 11
    assert clock == sorted(clock)
    assert clock[-1] == 5.0
    assert len(resets) == 10


def test_patience_ends(clock):
    with pytest.raises(
        RunError, match=r"//\*\*\*@host/db: .* ann:\*\*\* .* for \d+ s; check"
    ) as caught:
        patiently(failing(10**6, outage()), URL, (OperationalError,))
    assert 590 < sum(clock) <= 600
    assert "secret" not in str(caught.value)


def test_what_is_wrong_for_good_is_said_at_once(clock):
    full = OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full"))
    with pytest.raises(RunError, match="disk is full; check"):
        patiently(failing(1, full), "sqlite:///x", (OperationalError,))
    assert not clock


def test_a_locked_sqlite_is_waited_for(clock):
    locked = OperationalError("insert", {}, sqlite3.OperationalError("database is locked"))
    assert patiently(failing(3, locked), "sqlite:///x", (OperationalError,)) == 4
    assert len(clock) == 3


def test_tables_that_two_make_at_once(clock):
    twice = IntegrityError("create", {}, Exception("Key (typname)=(x) already exists."))
    assert patiently(failing(1, twice), URL, (IntegrityError,)) == 2


def test_other_errors_pass(clock):
    with pytest.raises(ValueError, match="a bug"):
        patiently(failing(1, ValueError("a bug")), URL, (OperationalError,))
    assert not clock


def test_connections_to_servers_are_bounded():
    bounded = {"connect_args": {"connect_timeout": 10}}
    assert engine_options(URL) == engine_options("mysql+pymysql://host/db") == bounded
    # another driver would not know the argument
    assert engine_options("postgresql+pg8000://host/db") == engine_options("sqlite:///a") == {}


def test_a_damaged_file_is_told_with_a_remedy_that_helps(clock):
    damaged = DatabaseError("select", {}, sqlite3.DatabaseError("file is not a database"))
    with pytest.raises(RunError, match=r"sqlite:///x: is damaged .*; nothing was changed: .*away"):
        patiently(failing(1, damaged), "sqlite:///x", (DatabaseError,))
    assert not clock
