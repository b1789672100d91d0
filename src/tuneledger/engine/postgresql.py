"""PostgreSQL by psycopg: what each connection is told, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event

from tuneledger.errors import UnsuitableConnection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import URL, Connection, Engine

_COPY_FROM: Final = 64
"""Rows from which COPY's extra round trips are earned back."""

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
}


def make_engine(url: URL, *, read_only: bool, durable: bool, wait_seconds: float) -> Engine:
    """Make the engine; the URL's own parameters go before the defaults here."""
    engine = create_engine(
        url,
        connect_args={name: value for name, value in _CONNECT.items() if name not in url.query},
        hide_parameters=True,
        pool_pre_ping=True,  # after a restart of the server the pool's connections are all dead
        pool_timeout=wait_seconds,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        settings = []
        purpose = connection.get_execution_options().get("tuneledger_begin")
        if read_only or purpose == "read":
            # One snapshot for the whole transaction: a job is seen whole, at one moment.
            settings.append("TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            # The planner counts what the views compute only where a summary is stale, and would compile
            # for a second what then runs for 20 ms.
            settings.append("LOCAL jit = off")
        elif purpose == "write":
            # What a lock was waited for must be seen after it, so each statement has its own snapshot.
            settings.append("TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE")
            settings.append(f"LOCAL lock_timeout = {round(wait_seconds * 1000)}")
            if not durable:
                settings.append("LOCAL synchronous_commit = off")
        if settings:
            # For this transaction alone: a pooler hands the session on to others. One round trip.
            connection.exec_driver_sql("; ".join(f"SET {setting}" for setting in settings))

    return engine


def check_suitable(connection: Connection, *, write: bool) -> None:
    """Refuse a caller's connection on which a save could work on an old snapshot."""
    level = connection.exec_driver_sql("SHOW transaction_isolation").scalar()
    if write and level != "read committed":
        raise UnsuitableConnection(
            f"this transaction is {level}; a save needs READ COMMITTED, or it works on a snapshot older "
            f"than the lock it waits for: create_engine(..., isolation_level='READ COMMITTED')"
        )


def insert_rows(
    connection: Connection,
    table: str,
    columns: dict[str, str],
    rows: Sequence[Sequence[Any]],
    on_conflict: str,
) -> None:
    """Insert rows; ``columns`` gives the PostgreSQL type of each.

    Many go by COPY, few by one INSERT over arrays. SQLAlchemy's asynchronous cursor has no COPY, so
    an asynchronous connection always takes the second way; COPY knows no ``on_conflict`` either.
    """
    names = ", ".join(columns)
    if on_conflict or len(rows) < _COPY_FROM or connection.dialect.is_async:
        arrays = ", ".join(f"%s::{kind}[]" for kind in columns.values())
        # Names come from our own tables, values are parameters.
        text = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) {on_conflict}"  # noqa: S608
        connection.exec_driver_sql(text, tuple(map(list, zip(*rows, strict=True))))
        return
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.set_types(list(columns.values()))
        for row in rows:
            copy.write_row(row)
