"""The one guarded connection that every migration runs on.

It holds the lock that lets one process migrate at a time. On SQLite it has foreign keys off while
tables are rebuilt (on, a batch migration of ``jobs`` deletes every checkpoint without an error) and
checks them before it commits; and it begins by itself, for the driver's own BEGIN lets DDL outlive a
rollback.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from tuneledger.engine import MIGRATING, locate, schema_options, translated
from tuneledger.engine.opening import DEFAULT_SCHEMA, schema_of
from tuneledger.engine.postgresql import ONE_CONNECTION_A_NODE
from tuneledger.errors import DatabaseBusy, DependentObjects, SchemaBroken
from tuneledger.schema.dependents import dependents_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Engine

__all__ = ["guarded", "is_guarded", "lock_key", "place_of"]

_MARK = "tuneledger_guarded"


@contextmanager
def guarded(engine: Engine) -> Iterator[Connection]:
    """Give the guarded connection in a transaction: committed at the end of the block, or all undone.

    Any engine will do, also one that `tuneledger.engine.open_engine` did not make. Raises `DatabaseBusy`
    when others keep the lock for longer than the engine waits, and `DependentObjects` when what the block
    drops is something that others on PostgreSQL built on.
    """
    place = place_of(engine)
    with translated(), engine.connect() as plain:
        connection = plain.execution_options(**MIGRATING, **{_MARK: True})
        if connection.dialect.name == "sqlite":
            with _guarded_sqlite(connection, place):
                yield connection
        else:
            schema = schema_of(connection.get_execution_options()) or DEFAULT_SCHEMA
            connection = connection.execution_options(**schema_options(schema))
            with _guarded_postgresql(connection, schema, place):
                yield connection


def is_guarded(connection: Connection) -> bool:
    """Tell whether `guarded` gave this connection."""
    return bool(connection.get_execution_options().get(_MARK))


def place_of(engine: Engine) -> str:
    """Name the archive behind an engine for a message; no password in it."""
    return str(locate(engine.url, schema_of(engine.get_execution_options())))


@contextmanager
def _lock_awaited(place: str) -> Iterator[None]:
    try:
        with translated():
            yield
    except DatabaseBusy:
        raise DatabaseBusy(
            f"another process migrates or writes to {place} and has not finished in time; try again"
        ) from None


@contextmanager
def _guarded_sqlite(connection: Connection, place: str) -> Iterator[None]:
    # Inside a transaction the pragma does nothing, so it goes past SQLAlchemy, which would begin one.
    driver: Any = connection.connection.dbapi_connection
    isolation_level = driver.isolation_level
    foreign_keys = driver.execute("PRAGMA foreign_keys").fetchone()[0]
    driver.isolation_level = None
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        with _lock_awaited(place):
            transaction = connection.begin()
            inner: Any = connection.connection.driver_connection
            if not inner.in_transaction:  # the engine is not one of ours
                driver.execute("BEGIN IMMEDIATE")
        with transaction:
            yield
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            if broken:
                tables = ", ".join(sorted({row[0] for row in broken}))
                raise SchemaBroken(
                    f"the migration would leave rows without their job in {place}: {tables}; "
                    f"nothing was changed (`tuneledger verify` names them)"
                )
    finally:
        driver.execute(f"PRAGMA foreign_keys = {foreign_keys}")
        driver.isolation_level = isolation_level


# An engine that is not ours may know no limit, and who waits for a table keeps all others waiting behind it.
_WAIT_NOT_FOR_EVER = text(
    "SELECT set_config('lock_timeout', '30s', true) WHERE current_setting('lock_timeout') = '0'"
)


@contextmanager
def _guarded_postgresql(connection: Connection, schema: str, place: str) -> Iterator[None]:
    try:
        with translated(), connection.begin():
            connection.execute(_WAIT_NOT_FOR_EVER)
            with _lock_awaited(place):
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock_key(schema)})
            # The migrations name no schema: offline SQL and other places read the same.
            connection.exec_driver_sql(f"SET LOCAL search_path TO {schema}")
            # Of tables that were never analysed the planner fears the worst, and compiles what runs for a
            # moment.
            connection.exec_driver_sql("SET LOCAL jit = off")
            # Said here again, for any engine will do.
            connection.exec_driver_sql(ONE_CONNECTION_A_NODE)
            yield
    except DependentObjects as error:
        if error.objects:  # named before anything was begun
            raise
        raise dependents_error(connection, schema, place) from None


def lock_key(schema: str) -> int:
    """Give the advisory lock of an archive: a number no other application is likely to take."""
    digest = hashlib.blake2b(b"tuneledger migration " + schema.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
