"""Patience with the database of the workers, and what SQLite needs to be shared by processes.

An outage is waited out; what waiting does not mend is reported at once, and the password never.
"""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import BindParameter, Engine, bindparam, column, event, select, table, text
from sqlalchemy.exc import (
    DBAPIError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)

from rolekd.errors import RunError
from rolekd.secrets import redact

T = TypeVar("T")

# Longer than a restart or a failover takes, shorter than a night lost to a dead server.
PATIENCE_SECONDS = 600.0
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 5.0
_CONNECT_SECONDS = 10
_SERVERS = ("postgresql", "mysql", "mariadb")
_WITH_CONNECT_TIMEOUT = ("", "psycopg", "psycopg2", "mysqldb", "pymysql")  # drivers; "": default
_MOST_AT_ONCE = 500  # of the ids in a query
_SQLITE_BUSY = ("database is locked", "database table is locked")
_SQLITE_DAMAGED = ("malformed", "file is not a database", "codec can't decode")

# "key" is a reserved word of MySQL: SQLAlchemy quotes it where it must
_ATTRIBUTES = table(
    "trial_user_attributes", column("trial_id"), column("key"), column("value_json")
)
_PARAM = ("trial_id", "param_name", "param_value", "distribution_json")
_PARAMS = table("trial_params", *map(column, _PARAM))

_log = logging.getLogger(__name__)


def patiently(
    action: Callable[[], T],
    url: str,
    errors: tuple[type[Exception], ...],
    patience: float | None = None,
    reset: Callable[[], None] = lambda: None,
) -> T:
    """Call `action` until the database answers.

    Args:
        action: Must be safe to repeat: it may have taken effect although it failed.
        url: The database's, for messages.
        errors: What a failing database raises, itself or as the cause of what is raised.
        patience: Seconds after which an outage is an error; 0: fail at once. None: 10 minutes.
        reset: Called after a failure, so that no broken transaction is left.
    """
    limit = PATIENCE_SECONDS if patience is None else patience
    begin, wait = time.monotonic(), _FIRST_WAIT
    while True:
        try:
            return action()
        except errors as error:
            away = time.monotonic() - begin
            with contextlib.suppress(SQLAlchemyError):
                reset()
            if not _passing(error) or away + wait > limit:
                raise RunError(_described(error, url, away)) from error
            if wait > 1.0:
                _log.warning("database %s: no answer for %.0f s; waiting", redact(url, url), away)
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)


def engine_options(url: str) -> dict[str, Any]:
    """Return options that bound the wait for a silent server; psycopg's default is 130 s."""
    database, _, driver = url.partition(":")[0].partition("+")
    if database in _SERVERS and driver in _WITH_CONNECT_TIMEOUT:
        return {"connect_args": {"connect_timeout": _CONNECT_SECONDS}}
    return {}


def seconds_silent(engine: Engine, study: str) -> dict[int, float]:
    """Return, for each running trial, its number and the seconds since its last heartbeat."""
    query = text(
        "SELECT trials.number, heartbeats.heartbeat, CURRENT_TIMESTAMP FROM trials "
        "JOIN studies ON studies.study_id = trials.study_id "
        "JOIN trial_heartbeats AS heartbeats ON heartbeats.trial_id = trials.trial_id "
        "WHERE studies.study_name = :study AND trials.state = 'RUNNING'"
    )
    with engine.connect() as connection:
        rows = connection.execute(query, {"study": study}).all()
    return {number: (_time(now) - _time(beat)).total_seconds() for number, beat, now in rows}


def trials(engine: Engine, study_id: int, first: int) -> list[tuple[int, int, str]]:
    """Return id, number and state of a study's trials from number `first` on, in order.

    Optuna would read all attributes of all unfinished trials anew: half a second for two thousand
    that wait, and each of fifty workers reads before each claim.
    """
    query = text(
        "SELECT trial_id, number, state FROM trials "
        "WHERE study_id = :study AND number >= :first ORDER BY number"
    )
    with engine.connect() as connection:
        rows = connection.execute(query, {"study": study_id, "first": first}).all()
    return [(identity, number, state) for identity, number, state in rows]


def attributes(engine: Engine, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the user attributes of trials, by their ids."""
    chosen: BindParameter[list[int]] = bindparam("ids", expanding=True)
    query = select(_ATTRIBUTES).where(_ATTRIBUTES.c.trial_id.in_(chosen))
    found: dict[int, dict[str, Any]] = {identity: {} for identity in ids}
    with engine.connect() as connection:
        for start in range(0, len(ids), _MOST_AT_ONCE):
            part = {"ids": ids[start : start + _MOST_AT_ONCE]}
            for identity, key, value in connection.execute(query, part):
                found[identity][key] = json.loads(value)
    return found


def add_waiting(
    engine: Engine, study_id: int, known: int, rows: Sequence[Mapping[str, Any]]
) -> bool:
    """Add waiting trials in one transaction, unless another worker has added some meanwhile.

    Optuna would take several transactions for each, and if two workers plan at the same time, both
    would add. A generation of 1,000 tasks is added in 0.2 s (docs/scale-out.md).

    Args:
        engine: The connections.
        study_id: Of the study.
        known: Number of its trials that the caller has seen.
        rows: The user attributes of each new one.

    Returns:
        Whether they were added.
    """
    study = {"study": study_id}
    with engine.begin() as connection:
        if engine.dialect.name != "sqlite":  # there a transaction locks the whole file
            connection.execute(
                text("SELECT study_id FROM studies WHERE study_id = :study FOR UPDATE"), study
            )
        count = text("SELECT COUNT(*) FROM trials WHERE study_id = :study")
        if connection.execute(count, study).scalar_one() != known:
            return False
        connection.execute(
            text(
                "INSERT INTO trials (number, study_id, state) VALUES (:number, :study, 'WAITING')"
            ),
            [{"number": known + place, **study} for place in range(len(rows))],
        )
        added = connection.execute(
            text(
                "SELECT trial_id FROM trials WHERE study_id = :study AND number >= :known "
                "ORDER BY number"
            ),
            {"known": known, **study},
        ).scalars()
        connection.execute(
            _ATTRIBUTES.insert(),
            [
                line
                for trial, row in zip(added, rows, strict=True)
                for line in _attribute_rows(trial, row)
            ],
        )
    return True


def set_params(
    engine: Engine,
    trial: int,
    params: Sequence[tuple[str, float, str]],
    attributes: Mapping[str, Any],
) -> None:
    """Give a trial its parameters in one transaction; Optuna would take one for each.

    Args:
        engine: The connections.
        trial: Its id.
        params: Name, value and distribution as JSON.
        attributes: User attributes that it does not have, or has from an earlier call.
    """
    if not params and not attributes:
        return
    with engine.begin() as connection:
        # after a lost answer the caller tries again: these may be there already
        connection.execute(_PARAMS.delete().where(_PARAMS.c.trial_id == trial))
        connection.execute(
            _ATTRIBUTES.delete().where(
                _ATTRIBUTES.c.trial_id == trial, _ATTRIBUTES.c.key.in_(list(attributes))
            )
        )
        if params:
            connection.execute(
                _PARAMS.insert(), [dict(zip(_PARAM, (trial, *row), strict=True)) for row in params]
            )
        if attributes:
            connection.execute(_ATTRIBUTES.insert(), _attribute_rows(trial, attributes))


def _attribute_rows(trial: int, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]


def _time(value: Any) -> datetime:
    # SQLite returns text; PostgreSQL's clock has a time zone, its column does not
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment.replace(tzinfo=None)


def make_shareable(engine: Engine) -> None:
    """Make SQLite safe for several processes; other databases need nothing.

    Every transaction takes the write lock when it begins: Optuna reads a trial's state before it
    writes it, and without the lock two workers could both find it waiting and claim it. The
    write-ahead log lets readers (optuna-dashboard) in meanwhile, and makes a commit cheap.
    """
    if engine.dialect.name != "sqlite":
        return
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    engine.dispose()


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # Python's driver begins transactions too late for us
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _passing(error: Exception) -> bool:
    cause = _cause(error)
    if isinstance(cause, PendingRollbackError):  # the connection broke in the call before
        return True
    if not isinstance(cause, DBAPIError):
        return False
    if "sqlite" in type(cause.orig).__module__:
        return any(text in str(cause.orig) for text in _SQLITE_BUSY)
    if "already exists" in str(
        cause.orig
    ):  # two made the tables at the same time; they are there now
        return True
    return cause.connection_invalidated or isinstance(cause, OperationalError)


def _cause(error: BaseException) -> BaseException:
    """Return what SQLAlchemy raised; Optuna wraps it."""
    return error if isinstance(error, SQLAlchemyError) else error.__cause__ or error


def _described(error: Exception, url: str, away: float) -> str:
    cause = _cause(error)
    reason = " ".join(str(getattr(cause, "orig", None) or cause).split())
    if "sqlite" in url and any(text in reason for text in _SQLITE_DAMAGED):
        return (
            f"database {redact(url, url)}: is damaged ({redact(reason, url)}); nothing was "
            "changed: put a copy in its place, or move it away, and its work starts afresh"
        )
    since = f" for {away:.0f} s" if away > 1.0 else ""
    return (
        f"database {redact(url, url)}: {redact(reason, url)}{since}; check the address, the "
        "server and its disk, then run again: the work continues where it was"
    )
