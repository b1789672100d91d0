"""Migrations as SQL text, for whoever runs it by the engine's own shell.

The text keeps what the guarded connection keeps: all or nothing, one at a time, foreign keys whole on
SQLite; and it stops where the database is at another revision than the text begins with.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from tuneledger.engine import locate
from tuneledger.engine.opening import DEFAULT_SCHEMA, identifier
from tuneledger.errors import InvalidArgument
from tuneledger.schema.guarding import lock_key
from tuneledger.schema.migrating import alembic_config
from tuneledger.schema_state import known
from tuneledger.tables import VERSION_TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DIALECTS", "sql", "write_sql"]

DIALECTS: Final = ("sqlite", "postgresql")


def sql(dialect: str, revisions: str = "base:head", *, schema: str | None = None) -> str:
    """Give the SQL from one revision to another (``FROM:TO``; ``TO`` alone is from base).

    ``FROM`` after ``TO`` takes the schema down, whatever it loses. Raises `InvalidArgument` for what is no
    such pair, for another dialect, and for a ``schema`` on SQLite.
    """
    from alembic import command

    first, colon, last = revisions.partition(":")
    if not colon:
        first, last = "base", first
    start, end = (None if name == "base" else known(name) for name in (first, last))
    config = alembic_config()
    config.output_buffer = output = io.StringIO()
    config.attributes.update(dialect=dialect, schema=schema)
    if (start or "") == (end or ""):
        raise InvalidArgument(f"{revisions} leads nowhere; say FROM:TO")
    run = command.upgrade if (start or "") < (end or "") else command.downgrade
    run(config, f"{start or 'base'}:{end or 'base'}", sql=True)
    return output.getvalue()


def write_sql(context: Any, arguments: Mapping[str, Any]) -> None:
    """Write the SQL that Alembic asks for to its output."""
    dialect, schema = _target(arguments)
    start = context.get_starting_revision_argument()
    context.configure(
        dialect_name=dialect,
        literal_binds=True,
        version_table=VERSION_TABLE,
        transactional_ddl=True,
    )
    if dialect == "sqlite":
        context.static_output(_SQLITE_BEGIN)
        if start is not None:
            context.static_output(_SQLITE_AT.format(revision=start, table=VERSION_TABLE))
    else:
        context.static_output(_POSTGRESQL_BEGIN.format(key=lock_key(schema), schema=schema))
        if start is None:
            context.static_output(_POSTGRESQL_NEW.format(schema=schema))
        else:
            context.static_output(_POSTGRESQL_AT.format(revision=start, table=VERSION_TABLE))
    context.run_migrations()
    context.static_output(_SQLITE_END if dialect == "sqlite" else "COMMIT;")


def _target(arguments: Mapping[str, Any]) -> tuple[str, str]:
    """Find out dialect and schema (``tuneledger`` on SQLite, where it has no meaning)."""
    dialect, schema = arguments.get("dialect"), arguments.get("schema")
    if dialect is None and arguments["url"]:
        place = locate(arguments["url"], schema)
        dialect, schema = ("sqlite", None) if place.schema is None else ("postgresql", place.schema)
    if dialect not in DIALECTS:
        raise InvalidArgument(f"say for which database: `-x dialect=` one of {', '.join(DIALECTS)}")
    if dialect == "sqlite" and schema is not None:
        raise InvalidArgument("--schema belongs to PostgreSQL; an SQLite file holds one archive")
    return dialect, identifier(schema or DEFAULT_SCHEMA)


_SQLITE_BEGIN = """\
-- Run it by the shell of SQLite 3.35 or newer: sqlite3 FILE < THIS
-- Stop at the first error, which undoes everything.
.bail on
PRAGMA foreign_keys = OFF;
BEGIN IMMEDIATE;"""

# SQLite raises errors in triggers alone, so a CHECK says what is wrong.
_SQLITE_AT = """\
CREATE TEMPORARY TABLE expected (
    found INTEGER CONSTRAINT the_archive_is_at_revision_{revision} CHECK (found = 1)
);
INSERT INTO expected SELECT count(*) FROM {table} WHERE version_num = '{revision}';
DROP TABLE expected;"""

_SQLITE_END = """\
CREATE TEMPORARY TABLE expected (broken INTEGER CONSTRAINT every_row_has_its_job CHECK (broken = 0));
INSERT INTO expected SELECT count(*) FROM pragma_foreign_key_check;
DROP TABLE expected;
COMMIT;"""

_POSTGRESQL_BEGIN = """\
-- Run it by psql -v ON_ERROR_STOP=1 -f THIS; the first error undoes everything.
BEGIN;
SELECT pg_advisory_xact_lock({key});
SET LOCAL search_path TO {schema};"""

# CREATE SCHEMA IF NOT EXISTS wants the right to create one also where it is there.
_POSTGRESQL_NEW = """\
DO $$
BEGIN
    IF pg_catalog.to_regnamespace('{schema}') IS NULL THEN
        CREATE SCHEMA {schema};
    END IF;
END
$$;"""

_POSTGRESQL_AT = """\
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM {table} WHERE version_num = '{revision}') THEN
        RAISE EXCEPTION 'the archive is not at revision {revision}';
    END IF;
END
$$;"""
