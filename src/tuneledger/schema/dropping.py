"""Taking an archive out of a database, and nothing else with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from tuneledger.engine import READING, translated
from tuneledger.errors import SchemaEmpty
from tuneledger.schema.guarding import guarded, place_of
from tuneledger.schema_state import OURS, State, relations, schema_name, status
from tuneledger.tables import VIEWS, Base

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

__all__ = ["Holdings", "drop", "holdings"]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What of a place is ours, and what is not."""

    ours: list[str]
    """Views first, then tables, those that others refer to last."""
    others: list[str] = field(default_factory=list)
    jobs: int | None = None
    """None where there is no table of jobs."""


def holdings(engine: Engine) -> Holdings:
    """Tell what `drop` would take away.

    Raises `SchemaEmpty` or `SchemaForeign` where nothing is ours, and `SchemaAhead` where there may be more
    than this release knows.
    """
    with translated(), engine.connect().execution_options(**READING) as connection:
        return _held(connection, place_of(engine))


def drop(engine: Engine) -> Holdings:
    """Drop our tables and views with all they hold; give what was dropped.

    A PostgreSQL schema goes too if it is empty then and the role owns it. An SQLite file stays, as an empty
    database. Raises `DependentObjects`, having dropped nothing, where others built on ours.
    """
    with guarded(engine) as connection:
        held = _held(connection, place_of(engine))
        for name in held.ours:
            connection.exec_driver_sql(f"DROP {'VIEW' if name in VIEWS else 'TABLE'} {name}")
        if connection.dialect.name == "postgresql":
            schema = schema_name(connection)
            if connection.execute(text(_MAY_GO), {"schema": schema}).scalar_one():
                connection.exec_driver_sql(f"DROP SCHEMA {schema}")
    if engine.dialect.name == "sqlite":
        with translated(), engine.connect() as connection:
            # Not in a transaction, which SQLAlchemy would begin: the pages it frees hold what was dropped.
            driver: Any = connection.connection.driver_connection
            driver.execute("VACUUM")
    return held


# What is no table, a function or a type, is somebody's as well; default privileges go with their schema.
_MAY_GO = """
SELECT pg_has_role(n.nspowner, 'USAGE') AND NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_depend AS d
    WHERE d.refclassid = CAST('pg_catalog.pg_namespace' AS regclass) AND d.refobjid = n.oid
      AND d.deptype = 'n'
)
FROM pg_catalog.pg_namespace AS n WHERE n.nspname = :schema
"""


def _held(connection: Connection, place: str) -> Holdings:
    found = status(connection)
    error = found.error(place)
    if error and found.state in {State.FOREIGN, State.AHEAD}:
        raise error  # of a newer schema we know only a part
    there = relations(connection)
    if not there & OURS:
        raise SchemaEmpty(f"{place} holds no archive; there is nothing to drop")
    order = [*VIEWS, *(table.name for table in reversed(Base.metadata.sorted_tables))]
    ours = sorted(there & OURS, key=lambda name: order.index(name) if name in order else len(order))
    prefix = "" if connection.dialect.name == "sqlite" else f"{schema_name(connection)}."
    jobs = None
    if "jobs" in there:
        jobs = connection.exec_driver_sql(f"SELECT count(*) FROM {prefix}jobs").scalar_one()  # noqa: S608 - ours
    return Holdings(ours, sorted(there - OURS), jobs)
