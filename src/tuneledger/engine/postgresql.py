"""PostgreSQL by psycopg: what each connection is told, and why."""

from __future__ import annotations

import math
import selectors
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event, exc
from sqlalchemy.util.concurrency import await_

from tuneledger.engine import binary_copy
from tuneledger.errors import DatabaseReadOnly, UnsuitableConnection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.engine import URL, Connection, Engine, ExecutionContext
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from tuneledger.engine.patience import PatientConnection

BINARY_RESULTS: Final = "tuneledger_binary_results"

_COPY_FROM: Final = 64
"""Rows from which COPY's extra round trips are earned back."""

_SERVER_GOES_FIRST_SECONDS: Final = 2.0

_CONNECT: Final = {
    # A dead network path answers nothing, and no server-side timeout helps.
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "application_name": "tuneledger",
    # A pooler in transaction mode gives the next statement to another server process.
    "prepare_threshold": None,
    # The driver's own BEGIN is a round trip of its own; ours goes with the settings of the transaction.
    "autocommit": True,
}


_SECRETS: Final = ("password", "sslpassword")

_ASKED_AFTER_SECONDS: Final = 5.0
"""How long a connection may lie in the pool and still be used without asking the server first."""

_IDLE_SINCE: Final = "idle since"

_WHOLE: Final = "tuneledger_whole_transaction"

_COMMITS_TO_DISK: Final = (
    "SELECT pg_catalog.set_config('synchronous_commit', 'on', true) "
    "WHERE pg_catalog.current_setting('synchronous_commit') = 'off'"
)
"""Stronger settings (``remote_apply``) stay as the server has them."""

ONE_CONNECTION_A_NODE: Final = "SET LOCAL citus.multi_shard_modify_mode = 'sequential'"
"""Citus refuses to write ``jobs`` in a transaction that reached other tables by several connections a node.
To a server without Citus it is a name that nobody reads."""


def make_engine(
    url: URL, *, read_only: bool, durable: bool, wait_seconds: float, reply_seconds: float
) -> Engine:
    """Make the engine; the URL's own parameters go before the defaults here."""
    from psycopg import AsyncClientCursor, ClientCursor

    from tuneledger.engine.patience import (
        BETWEEN_TRANSACTIONS_SECONDS,
        PatientAsyncConnection,
        PatientConnection,
    )

    options: dict[str, Any] = {name: value for name, value in _CONNECT.items() if name not in url.query}
    # An engine shows its URL, and hides a password in its own place alone.
    options |= {name: value for name, value in url.query.items() if name in _SECRETS}
    is_async = url.get_dialect().is_async
    if is_async:
        options["async_creator_fn"] = PatientAsyncConnection.connect
    engine = create_engine(
        url.difference_update_query(_SECRETS),
        connect_args=options,
        hide_parameters=True,
        pool_timeout=wait_seconds,
    )

    if not is_async:

        @event.listens_for(engine, "do_connect")
        def connect(
            _dialect: object, _record: object, arguments: Sequence[Any], options: dict[str, Any]
        ) -> PatientConnection:
            return PatientConnection.connect(*arguments, **options)

        @event.listens_for(engine, "before_cursor_execute")
        def in_binary(
            _connection: object,
            cursor: Any,
            _statement: str,
            _parameters: object,
            context: ExecutionContext | None,
            _many: object,
        ) -> None:
            if context is not None and context.execution_options.get(BINARY_RESULTS):
                cursor.format = 1

    _ask_after_idleness(engine, BETWEEN_TRANSACTIONS_SECONDS)
    limit_seconds = wait_seconds + reply_seconds
    # The server goes first, if it still can: it says why, and stops working on the statement.
    patience_seconds = limit_seconds + _SERVER_GOES_FIRST_SECONDS
    answered_within = f"SET LOCAL statement_timeout = {_milliseconds(limit_seconds)}"
    # One snapshot for the whole transaction: a job is seen whole, at one moment. The planner counts what the
    # views compute only where a summary is stale, and would compile for a second what then runs for 20 ms.
    reading = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL jit = off", answered_within)
    on_disk = _COMMITS_TO_DISK if durable else "SET LOCAL synchronous_commit = off"
    # What a lock was waited for must be seen after it, so each statement has its own snapshot.
    writing = (
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        f"SET LOCAL lock_timeout = {_milliseconds(wait_seconds)}",
        on_disk,
        ONE_CONNECTION_A_NODE,
    )
    settings: dict[object, tuple[str, ...]] = {
        "read": reading,
        "write": (*writing, answered_within),
        "migrate": (*writing, "SET LOCAL statement_timeout = 0"),  # an index takes as long as it takes
    }

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("isolation_level") == "AUTOCOMMIT":
            return
        purpose = "read" if read_only else options.get("tuneledger_begin")
        # For this transaction alone: a pooler hands the session on to others. One round trip.
        connection.exec_driver_sql("; ".join(settings.get(purpose, ("BEGIN",))))
        if purpose is None:
            return
        driver: Any = connection.connection.driver_connection
        driver.silence_seconds = math.inf if purpose == "migrate" else patience_seconds

    cursor_class = AsyncClientCursor if is_async else ClientCursor
    whole = _WholeTransaction(cursor_class, settings["write"], patience_seconds)
    return engine.execution_options(**{_WHOLE: whole})


@dataclass(frozen=True, slots=True)
class _WholeTransaction:
    """How a transaction is sent in one piece: by what, and after which statements."""

    cursor_class: Any
    beginning: tuple[str, ...]
    silence_seconds: float


def in_one_trip(engine: Engine, statement: str, parameters: Mapping[str, Any]) -> int:
    """Do one statement in a transaction of its own, in one round trip; give the number of its rows."""
    whole: _WholeTransaction = engine.get_execution_options()[_WHOLE]
    with closing(engine.raw_connection()) as lent:
        driver: Any = lent.driver_connection
        driver.silence_seconds = whole.silence_seconds
        # A message of several statements takes no parameters: the driver writes the values in, as libpq
        # quotes them. A pipeline would take them, and a tenth more processor time.
        cursor = whole.cursor_class(driver)
        try:
            sent = cursor.execute("; ".join((*whole.beginning, statement, "COMMIT")), parameters)
            if engine.dialect.is_async:
                await_(sent)
        except Exception as error:  # whatever it was, raised again: the pool is told where the session ended
            if driver.closed:
                lent.invalidate(error)
            raise
    for _ in whole.beginning:
        cursor.nextset()
    rows: int = cursor.rowcount
    return rows


def _ask_after_idleness(engine: Engine, silence_seconds: float) -> None:
    """Give out no connection that died in the pool: after a restart of the server all of them have.

    Most were told so, which shows without a round trip. One that was used a moment ago is as good as in the
    middle of a transaction; the others are asked.
    """

    @event.listens_for(engine, "checkout")
    def ask(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        idle_since = record.info.get(_IDLE_SINCE)
        if idle_since is None:
            return
        try:
            if time.monotonic() > idle_since + _ASKED_AFTER_SECONDS or _was_spoken_to(record):
                engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            raise exc.InvalidatePoolError from None

    @event.listens_for(engine, "reset")
    def calm(_connection: object, record: ConnectionPoolEntry, _state: object) -> None:
        driver: Any = record.driver_connection
        driver.silence_seconds = silence_seconds
        record.info[_IDLE_SINCE] = time.monotonic()


def _was_spoken_to(record: ConnectionPoolEntry) -> bool:
    """Tell whether the server sent what nobody waits for: its farewell, most often."""
    driver: Any = record.driver_connection
    with selectors.DefaultSelector() as selector:
        selector.register(driver.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # 0 would be no limit at all


def check_suitable(connection: Connection, *, write: bool) -> None:
    """Refuse a caller's connection that commits each statement, or would save on an old snapshot."""
    query = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
    level, read_only = connection.exec_driver_sql(query).one()
    driver: Any = connection.connection.driver_connection
    if driver.info.transaction_status.name == "IDLE":
        raise UnsuitableConnection(
            "this connection commits each statement by itself (AUTOCOMMIT), and would show others half a "
            "job; use one with transactions"
        )
    if write and read_only == "on":
        raise DatabaseReadOnly("this transaction was opened to read only; a save needs one that may write")
    if write and level != "read committed":
        raise UnsuitableConnection(
            f"this transaction is {level}; a save needs READ COMMITTED, or it works on a snapshot older "
            f"than the lock it waits for: create_engine(..., isolation_level='READ COMMITTED')"
        )


def insert_columns(
    connection: Connection,
    table: str,
    types: Mapping[str, str],
    columns: Sequence[Sequence[Any]],
    on_conflict: str,
) -> None:
    """Insert rows given by columns, whose names and PostgreSQL types are ``types``.

    Many go by COPY, few by one INSERT over arrays. SQLAlchemy's asynchronous cursor has no COPY, so
    an asynchronous connection always takes the second way; COPY knows no ``on_conflict`` either.
    """
    rows = len(columns[0])
    listed = ", ".join(types)
    if on_conflict or rows < _COPY_FROM or connection.dialect.is_async:
        arrays = ", ".join(f"%s::{kind}[]" for kind in types.values())
        text = f"INSERT INTO {table} ({listed}) SELECT * FROM unnest({arrays}) {on_conflict}"  # noqa: S608 - our own names
        connection.exec_driver_sql(text, tuple(columns))
        return
    driver: Any = connection.connection.driver_connection
    try:
        with (
            driver.cursor() as cursor,
            cursor.copy(f"COPY {table} ({listed}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.write(binary_copy.HEADER)
            copy.write(binary_copy.rows(rows, list(types.values()), columns))
            copy.write(binary_copy.END)
    except Exception as error:
        if driver.closed:
            # SQLAlchemy knows nothing of this, and would give the dead connection to the next.
            connection.invalidate(error)
        raise
