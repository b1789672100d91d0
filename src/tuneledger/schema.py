"""The schema of a database: which state it is in, and the way from one revision to the next.

Alembic is imported where a migration runs and nowhere else: it costs a command's start-up dearly,
and telling the state of a schema does not need it.

Two doors lead to a migration, this module and the ``alembic`` command. Both go through
`migrating`, the one guarded connection: it holds the lock that lets one process migrate at a time,
and on SQLite it has foreign keys off while tables are rebuilt (on, a batch migration of ``jobs``
deletes every checkpoint without an error) and checks them before it commits.
"""

from __future__ import annotations

import enum
import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from tuneledger.engine import WRITING, locate, open_engine, translated
from tuneledger.engine.opening import schema_of
from tuneledger.errors import (
    InvalidArgument,
    SchemaAhead,
    SchemaBehind,
    SchemaBroken,
    SchemaEmpty,
    SchemaError,
    SchemaForeign,
)
from tuneledger.tables import VERSION_TABLE, Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.config import Config
    from sqlalchemy.engine import Connection, Engine

__all__ = [
    "State",
    "Status",
    "downgrade",
    "head",
    "migrating",
    "require_current",
    "revisions",
    "run_environment",
    "status",
    "upgrade",
]


class State(enum.StrEnum):
    """What a database is to this release."""

    CURRENT = "current"
    EMPTY = "empty"
    BEHIND = "behind"
    AHEAD = "ahead"
    FOREIGN = "foreign"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a database's schema; ``revision`` is None where it has none of ours."""

    state: State
    revision: str | None
    head: str
    detail: str = ""

    def error(self, place: str) -> SchemaError | None:
        """Give the error that says so of ``place`` and names the command that mends it, if any is due."""
        detail = f" ({self.detail})" if self.detail else ""
        if self.state is State.CURRENT:
            return None
        if self.state is State.EMPTY:
            return SchemaEmpty(f"{place} holds no archive yet; run `tuneledger db upgrade` to make one")
        if self.state is State.BEHIND:
            return SchemaBehind(
                f"{place} is at revision {self.revision}, this release works with {self.head}; "
                f"run `tuneledger db upgrade` (`tuneledger db plan` says what it will do)"
            )
        if self.state is State.AHEAD:
            return SchemaAhead(
                f"{place} is at revision {self.revision}, newer than this release knows ({self.head}); "
                f"run `pip install --upgrade tuneledger`"
            )
        if self.state is State.FOREIGN:
            return SchemaForeign(
                f"{place} belongs to another application{detail}; choose another file, "
                f"or another schema with `--schema`"
            )
        return SchemaBroken(
            f"{place} is not what revision {self.revision or 'none'} looks like{detail}; "
            f"run `tuneledger db check` to see what differs, then restore a backup"
        )


@cache
def revisions() -> tuple[str, ...]:
    """Give every revision this release knows, oldest first. They are numbered from 0001."""
    versions = resources.files("tuneledger.migrations") / "versions"
    numbers = {entry.name.partition("_")[0] for entry in versions.iterdir()}
    return tuple(sorted(number for number in numbers if number.isdigit()))


def head() -> str:
    """Give the newest revision this release knows."""
    return revisions()[-1]


def status(connection: Connection) -> Status:
    """Tell the state of the schema behind ``connection``. Reads the catalog only, changes nothing."""
    names = _relations(connection)
    if VERSION_TABLE not in names:
        return _without_revision(names)
    query = f"SELECT version_num FROM {_qualified(connection, VERSION_TABLE)}"  # noqa: S608 - our own name
    found = connection.execute(text(query)).scalars().all()
    if not found:
        return _downgraded_to_base(names)
    return _at_revision(found[0] if len(found) == 1 else " and ".join(sorted(found)), names)


def _without_revision(names: set[str]) -> Status:
    if not names:
        return Status(State.EMPTY, None, head())
    if set(Base.metadata.tables) <= names:
        return Status(State.BROKEN, None, head(), f"no table {VERSION_TABLE}")
    return Status(State.FOREIGN, None, head(), f"it holds {', '.join(sorted(names)[:5])}")


def _downgraded_to_base(names: set[str]) -> Status:
    left = sorted(names & set(Base.metadata.tables))
    if left:
        return Status(State.BROKEN, None, head(), f"no revision, but tables: {', '.join(left[:5])}")
    return Status(State.EMPTY, None, head())


def _at_revision(revision: str, names: set[str]) -> Status:
    newest = head()
    if revision not in revisions():
        if revision.isdigit() and revision > newest:
            return Status(State.AHEAD, revision, newest)
        return Status(State.BROKEN, None, newest, f"revision {revision} is none of ours")
    if revision != newest:
        return Status(State.BEHIND, revision, newest)
    missing = sorted(set(Base.metadata.tables) - names)
    if missing:
        return Status(State.BROKEN, revision, newest, f"missing: {', '.join(missing)}")
    return Status(State.CURRENT, revision, newest)


def require_current(connection: Connection, place: str) -> None:
    """Raise the `SchemaError` that fits, unless the schema is the one this release works with."""
    error = status(connection).error(place)
    if error is not None:
        raise error


def _relations(connection: Connection) -> set[str]:
    """Give the names of all tables and views in the place that is ours."""
    if connection.dialect.name == "sqlite":
        query = (
            "SELECT name FROM sqlite_master "
            "WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
        return set(connection.exec_driver_sql(query).scalars())
    # The catalog itself, for information_schema hides what a role may not read.
    query = (
        "SELECT c.relname FROM pg_catalog.pg_class c "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    )
    return set(connection.execute(text(query), {"schema": _schema(connection)}).scalars())


def _schema(connection: Connection) -> str:
    schema = schema_of(connection.get_execution_options())
    return schema or connection.exec_driver_sql("SELECT current_schema()").scalar_one()


def _qualified(connection: Connection, table: str) -> str:
    schema = schema_of(connection.get_execution_options())
    return f"{schema}.{table}" if schema else table


# -- migrating ----------------------------------------------------------------------------------


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """Give the guarded connection: one process migrates at a time, all or nothing.

    Raises `DatabaseBusy` when others keep the lock for longer than the engine waits.
    """
    with translated(), engine.connect().execution_options(**WRITING) as connection:
        guard = _guarded_sqlite if connection.dialect.name == "sqlite" else _guarded_postgresql
        with guard(connection):
            yield connection


@contextmanager
def _guarded_sqlite(connection: Connection) -> Iterator[None]:
    # Inside a transaction the pragma does nothing, so it goes past SQLAlchemy, which would begin one.
    driver: Any = connection.connection.dbapi_connection
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        with connection.begin():
            yield
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            if broken:
                tables = ", ".join(sorted({row[0] for row in broken}))
                raise SchemaBroken(f"the migration would leave rows without their job in: {tables}")
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


@contextmanager
def _guarded_postgresql(connection: Connection) -> Iterator[None]:
    schema = schema_of(connection.get_execution_options())
    with connection.begin():
        if schema:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _lock_key(schema)})
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            # The migrations name no schema: offline SQL and other places read the same.
            connection.exec_driver_sql(f"SET LOCAL search_path TO {schema}")
        yield


def _lock_key(schema: str) -> int:
    """Give the advisory lock of an archive: a number no other application is likely to take."""
    digest = hashlib.blake2b(b"tuneledger migration " + schema.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def upgrade(engine: Engine, revision: str = "head") -> str:
    """Bring the schema up to ``revision`` (to the newest one), making it where there is none.

    Gives the revision it is at afterwards. Any number of processes may do so at once. Raises
    `SchemaForeign`, `SchemaAhead` or `SchemaBroken` where an upgrade is no answer.
    """
    wanted = head() if revision == "head" else _known(revision)
    with migrating(engine) as connection:
        found = status(connection)
        if found.state not in {State.EMPTY, State.BEHIND, State.CURRENT}:
            error = found.error(_place(engine))
            if error:
                raise error
        if found.revision is None or found.revision < wanted:
            _command(connection, "upgrade", wanted)
            return wanted
        return found.revision


def downgrade(engine: Engine, revision: str) -> str | None:
    """Take the schema down to ``revision``; ``base`` removes it. Gives the revision it is at afterwards."""
    wanted = None if revision == "base" else _known(revision)
    with migrating(engine) as connection:
        found = status(connection)
        if found.state not in {State.CURRENT, State.BEHIND}:
            error = found.error(_place(engine))
            if error:
                raise error
        if found.revision is not None and (wanted is None or wanted < found.revision):
            _command(connection, "downgrade", wanted or "base")
            return wanted
        return found.revision


def _known(revision: str) -> str:
    if revision not in revisions():
        raise InvalidArgument(f"no revision {revision!r}; there are: {', '.join(revisions())}")
    return revision


def _place(engine: Engine) -> str:
    options = engine.get_execution_options()
    return str(locate(engine.url, schema_of(options)))


def _command(connection: Connection, name: str, revision: str) -> None:
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    getattr(command, name)(config, revision)


def alembic_config() -> Config:
    """Give Alembic's configuration, made in code: an installed package has no alembic.ini beside it."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "tuneledger.migrations:.")
    config.set_main_option("path_separator", "os")
    return config


def run_environment(context: Any) -> None:
    """Run what Alembic asks for, over the connection it was handed or one of our own making."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _run(context, connection)
        return
    arguments = context.get_x_argument(as_dictionary=True)
    url = arguments.get("url") or context.config.get_main_option("sqlalchemy.url")
    if not url:
        raise InvalidArgument("say which database: `alembic -x url=postgresql://… upgrade head`")
    engine = open_engine(url, schema=arguments.get("schema"))
    with migrating(engine) as guarded:
        _run(context, guarded)
    engine.dispose()


def _run(context: Any, connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        transactional_ddl=True,
        render_as_batch=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()
