"""What ``migrations/env.py`` runs: Alembic's commands, by whichever door, on the guarded connection."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from tuneledger.engine import open_engine
from tuneledger.errors import InvalidArgument, UnsuitableConnection
from tuneledger.schema.guarding import guarded, is_guarded
from tuneledger.tables import VERSION_TABLE, Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

__all__ = ["run_environment"]


def run_environment(context: Any, *, url: str | None = None) -> None:
    """Run what Alembic asks for; ``url`` is the database where neither caller nor command line names one."""
    with _connected(context, url) as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            version_table=VERSION_TABLE,
            transactional_ddl=True,
            render_as_batch=True,
            compare_server_default=True,
        )
        if _migrates(context) and connection.dialect.name == "postgresql":
            _make_schema(connection)
        with context.begin_transaction():
            context.run_migrations()


@contextmanager
def _connected(context: Any, url: str | None) -> Iterator[Connection]:
    given = context.config.attributes.get("connection")
    if isinstance(given, Engine):
        with guarded(given) as connection:
            yield connection
    elif given is not None:
        if not is_guarded(given):
            raise UnsuitableConnection(
                "migrations run on a connection that they guard themselves; "
                "pass the engine in config.attributes['connection']"
            )
        yield given
    else:
        arguments = context.get_x_argument(as_dictionary=True)
        asked = arguments.get("url") or context.config.get_main_option("sqlalchemy.url") or url
        if not asked:
            raise InvalidArgument(
                "say which database: set TUNELEDGER_DATABASE_URL, "
                "or `alembic -x url=postgresql://… upgrade head`"
            )
        engine = open_engine(asked, schema=arguments.get("schema"))
        try:
            with guarded(engine) as connection:
                yield connection
        finally:
            engine.dispose()


def _migrates(context: Any) -> bool:
    """Tell an upgrade or a downgrade from a command that only looks."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    return True


def _make_schema(connection: Connection) -> None:
    schema = connection.exec_driver_sql("SHOW search_path").scalar_one()
    # Asked first, for CREATE SCHEMA IF NOT EXISTS wants the right to create one also where it is there.
    there = connection.exec_driver_sql(
        "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (schema,)
    ).scalar()
    if there is None and not schema.startswith("pg_"):
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
