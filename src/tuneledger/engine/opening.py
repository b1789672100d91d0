"""From a path or URL to an engine whose every connection keeps the archive's promises."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.pool import Pool

from tuneledger.engine import postgresql, sqlite
from tuneledger.engine.failures import guard_transactions
from tuneledger.errors import DriverMissing, InvalidArgument, UnsuitableConnection, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.pool import ConnectionPoolEntry

__all__ = [
    "MIGRATING",
    "READING",
    "WRITING",
    "Location",
    "check_suitable",
    "has_citus",
    "identity",
    "locate",
    "open_engine",
    "schema_options",
]

_LONGEST_WAIT_SECONDS: Final = 86_400

# Taken for a path it would be shown, and its password with it. A single letter is a drive of Windows.
_MISSPELT_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+]+:/")

DEFAULT_SCHEMA: Final = "tuneledger"
"""The PostgreSQL schema that holds an archive unless another is named."""

READING: Final = {"tuneledger_begin": "read"}
WRITING: Final = {"tuneledger_begin": "write"}
MIGRATING: Final = {"tuneledger_begin": "migrate"}
"""Execution options of a transaction: a reader sees one snapshot throughout, a writer takes its lock
before it reads, so that what it read still holds when it writes; a migration is a writer whose statements
may take as long as they need."""

_ASYNC_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg_async"}


BINARY_RESULTS: Final = {postgresql.BINARY_RESULTS: True}
"""Execution option of a statement whose many numbers PostgreSQL need not write as text."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where an archive is. Its text form never shows a password."""

    url: URL
    schema: str | None
    """The PostgreSQL schema; None on SQLite, where the file is ours alone."""

    @property
    def path(self) -> Path | None:
        """The SQLite file, or None for PostgreSQL and for a database in memory."""
        name = self.url.database
        if self.url.get_backend_name() != "sqlite" or not name or name == ":memory:":
            return None
        return Path(name)

    @property
    def is_async(self) -> bool:
        """Whether its driver is for asyncio."""
        return self.url.drivername in _ASYNC_DRIVERS.values()

    def asynchronous(self) -> Location:
        """Give the same place by the driver for asyncio."""
        return replace(self, url=self.url.set(drivername=_ASYNC_DRIVERS[self.url.get_backend_name()]))

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        shown = self.url.set(query={}).render_as_string(hide_password=True)
        return shown if self.schema in {None, DEFAULT_SCHEMA} else f"{shown}?schema={self.schema}"

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"


def locate(location: str | os.PathLike[str] | URL, schema: str | None = None) -> Location:
    """Read a location: a file's path, ``sqlite:///path``, ``sqlite://`` (in memory) or ``postgresql://…``.

    ``schema`` chooses the PostgreSQL schema, as does ``?schema=`` in the URL; ``tuneledger`` if neither
    does. Raises `InvalidArgument` for anything else.
    """
    if isinstance(location, os.PathLike) or (
        isinstance(location, str) and "://" not in location and not _MISSPELT_URL.match(location)
    ):
        return _located_file(os.fspath(location), schema)
    try:
        url = make_url(location)
    except (exc.ArgumentError, ValueError):  # ValueError, quoting the URL, for a port that is no number
        raise InvalidArgument(
            "not a database URL; give a file's path, sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        if url.query:
            raise InvalidArgument("the URL of an SQLite archive takes no parameters; give the file's path")
        if not url.database or url.database == ":memory:":
            return _without_schema(URL.create("sqlite+pysqlite"), schema)
        return _located_file(url.database, schema)
    if backend in {"postgresql", "postgres"}:
        asked = url.query.get("schema", DEFAULT_SCHEMA)
        if not isinstance(asked, str):
            raise InvalidArgument("the URL names several schemas; one archive is in one: give ?schema= once")
        return Location(
            url.difference_update_query(["schema"]).set(drivername="postgresql+psycopg"),
            # A URL is not quoted: a password may stand anywhere in one that is misspelt.
            identifier(asked, called="?schema= in the URL") if schema is None else identifier(schema),
        )
    raise InvalidArgument(f"{backend} is not supported; an archive lives in SQLite or PostgreSQL")


def location_of(engine: Engine, schema: str | None = None) -> Location:
    """Tell where a caller's own engine leads; ``schema`` goes before the one it names."""
    if engine.dialect.name != "postgresql":
        return _without_schema(engine.url, schema)
    named = schema or schema_of(engine.get_execution_options()) or DEFAULT_SCHEMA
    return Location(engine.url, identifier(named))


def _located_file(path: str, schema: str | None) -> Location:
    if not path or "\0" in path:
        raise InvalidArgument("not a file's path: it is empty or contains a NUL character")
    return _without_schema(URL.create("sqlite+pysqlite", database=path), schema)


def _without_schema(url: URL, schema: str | None) -> Location:
    if schema is not None:
        raise InvalidArgument("--schema belongs to PostgreSQL; an SQLite file holds one archive")
    return Location(url, None)


def identifier(name: str, *, called: str | None = None) -> str:
    """Take a schema name that needs no quoting anywhere: no surprise in a log, a dump or a search path.

    Raises `InvalidArgument` for any other, quoting it, or saying how it is ``called`` in its place.
    """
    longest = 63  # PostgreSQL cuts longer names without a word
    plain = (
        name.replace("_", "a").isalnum() and name.isascii() and name == name.lower() and not name[0].isdigit()
    )
    if not plain or len(name) > longest or name.startswith("pg_") or name == "information_schema":
        raise InvalidArgument(
            f"{called or repr(shortened(name))}: a schema name is up to 63 of a-z, 0-9 and _, begins with a "
            f"letter and is not PostgreSQL's own"
        )
    return name


def open_engine(
    location: str | os.PathLike[str] | URL | Location,
    *,
    schema: str | None = None,
    read_only: bool = False,
    durable: bool = True,
    wait_seconds: float = 30.0,
    reply_seconds: float = 90.0,
) -> Engine:
    """Make an engine for an archive; nothing is connected to yet, no file is made.

    A missing SQLite file is created (mode 0600) by the first connection, unless ``read_only``. With
    ``durable`` off a commit does not wait for the disk: a power cut can lose the newest transactions,
    never a part of one. ``wait_seconds`` bounds the wait for a lock and for a connection of the pool,
    ``reply_seconds``, on top of it, that for PostgreSQL's answer to a statement: a server that has fallen
    silent is given up. Raises `DriverMissing` where the extra with the driver is not installed.
    """
    for name, seconds in (("wait_seconds", wait_seconds), ("reply_seconds", reply_seconds)):
        if not 0 <= seconds <= _LONGEST_WAIT_SECONDS:
            raise InvalidArgument(f"{name} is a number from 0 to {_LONGEST_WAIT_SECONDS}")
    place = location if isinstance(location, Location) else locate(location, schema)
    try:
        if place.schema is None:
            engine = sqlite.make_engine(
                place.url, read_only=read_only, durable=durable, wait_seconds=wait_seconds
            )
        else:
            engine = postgresql.make_engine(
                place.url,
                read_only=read_only,
                durable=durable,
                wait_seconds=wait_seconds,
                reply_seconds=reply_seconds,
            )
    except ModuleNotFoundError:
        wanted = "async" if place.url.drivername == _ASYNC_DRIVERS["sqlite"] else "postgres"
        raise DriverMissing(
            f"the database driver is not installed; `pip install 'tuneledger[{wanted}]'` brings it"
        ) from None
    _guard_against_fork(engine)
    guard_transactions(engine)
    return engine.execution_options(**schema_options(place.schema))


def schema_options(schema: str | None) -> dict[str, Any]:
    """Give the execution options that send statements to ``schema`` without touching the search path."""
    return {} if schema is None else {"schema_translate_map": {None: schema}}


_of_the_parent: list[object] = []


def _guard_against_fork(engine: Engine) -> None:
    """Keep a child process from speaking on its parent's connections: they would mix their answers."""

    @event.listens_for(engine, "connect")
    def remember(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["pid"] = os.getpid()

    # Before all others: a listener may ask the server whether it is still there.
    @event.listens_for(engine, "checkout", insert=True)
    def compare(_connection: object, record: Any, proxy: Any) -> None:
        if record.info["pid"] != os.getpid():
            # Kept, not closed: closing would tell the server that the parent is leaving, and SQLite
            # would take the log of a file for its own to tidy up.
            _of_the_parent.append(record.dbapi_connection)
            record.dbapi_connection = proxy.dbapi_connection = None
            message = "the connection belongs to the parent process"
            raise exc.DisconnectionError(message)


_SUITABLE_DRIVERS: Final = {
    "sqlite": ("pysqlite", "aiosqlite"),
    "postgresql": ("psycopg", "psycopg_async"),
}


def check_suitable(connection: Connection, *, write: bool) -> None:
    """Refuse a caller's own connection that lacks what the archive rests on; change nothing on it.

    Raises `UnsuitableConnection` with the remedy.
    """
    dialect = connection.dialect
    if dialect.driver not in _SUITABLE_DRIVERS.get(dialect.name, ()):
        raise UnsuitableConnection(
            f"{dialect.name}+{dialect.driver} is not supported; make the engine with sqlite:///… "
            f"or postgresql+psycopg://…"
        )
    if dialect.name == "sqlite":
        sqlite.check_suitable(connection)
    else:
        postgresql.check_suitable(connection, write=write)


def read_one_snapshot(connection: Connection) -> None:
    """Let a transaction of a caller's engine, just begun, see one moment throughout, as one of ours does."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def identity(connection: Connection) -> tuple[object, ...]:
    """Give what tells an archive from every other, however its place was spelt."""
    if connection.dialect.name == "sqlite":
        query = "SELECT file FROM pragma_database_list WHERE name = 'main'"
        file = connection.exec_driver_sql(query).scalar()
        if not file:
            return (connection.engine.pool,)
        found = Path(file).stat()
        return found.st_dev, found.st_ino
    query = "SELECT pg_catalog.pg_postmaster_start_time(), pg_catalog.current_database()"
    return *connection.exec_driver_sql(query).one(), schema_of(connection.get_execution_options())


_have_citus: WeakKeyDictionary[Pool, bool] = WeakKeyDictionary()


def has_citus(connection: Connection) -> bool:
    """Tell whether the database is one of Citus; asked once of each pool of connections."""
    if connection.dialect.name != "postgresql":
        return False
    pool = connection.engine.pool
    if pool not in _have_citus:
        query = "SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
        _have_citus[pool] = connection.exec_driver_sql(query).scalar_one()
    return _have_citus[pool]


def schema_of(options: Mapping[str, Any]) -> str | None:
    """Give the schema that a connection's execution options name, or None."""
    translation = options.get("schema_translate_map")
    return translation.get(None) if translation else None
