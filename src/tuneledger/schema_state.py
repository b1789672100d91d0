"""Which state a schema is in: five answers beside "ready", each with the command that mends it.

Only the catalog and the version table are read, so that whoever may read gets the same answer. Every archive
that is opened asks; `tuneledger.schema`, which changes a schema, need not be imported for that.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from sqlalchemy import text

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
from tuneledger.tables import VERSION_TABLE, VIEWS, Base, JobLabelRow

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = [
    "OURS",
    "State",
    "Status",
    "head",
    "known",
    "relations",
    "require_current",
    "revisions",
    "schema_name",
    "status",
]

OURS = frozenset((*Base.metadata.tables, *VIEWS, VERSION_TABLE))
"""The names of all tables and views of the newest revision."""


OF_EVERY_REVISION = frozenset(Base.metadata.tables) - {JobLabelRow.__tablename__}
"""The tables that every revision has: by them an archive is known that lost its version."""


@cache
def revisions() -> tuple[str, ...]:
    """Give every revision this release knows, oldest first."""
    versions = resources.files("tuneledger.migrations") / "versions"
    numbers = {entry.name.partition("_")[0] for entry in versions.iterdir()}
    return tuple(sorted(number for number in numbers if number.isdigit()))


def head() -> str:
    """Give the newest revision this release knows."""
    return revisions()[-1]


def known(revision: str) -> str:
    """Give ``revision`` back, with ``head`` as its number. Raises `InvalidArgument` for one there is not."""
    if revision == "head":
        return head()
    if revision not in revisions():
        raise InvalidArgument(f"no revision {revision!r}; there are: {', '.join(revisions())}")
    return revision


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
        if self.revision is None:
            told = f"holds an archive's tables, and nothing says of which revision they are{detail}"
            stamp = (
                "; where the version alone is lost, `alembic stamp head` writes it anew "
                "(of an older archive its own number in place of head)"
            )
        else:
            told, stamp = f"is not what revision {self.revision} looks like{detail}", ""
        return SchemaBroken(
            f"{place} {told}; run `tuneledger db check` to see what differs, then restore a backup{stamp}"
        )


def status(connection: Connection) -> Status:
    """Tell the state of the schema behind ``connection``. Reads the catalog only, changes nothing."""
    names = relations(connection)
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
    if names >= OF_EVERY_REVISION:
        return Status(State.BROKEN, None, head(), f"no table {VERSION_TABLE}")
    return Status(State.FOREIGN, None, head(), f"it holds {', '.join(sorted(names)[:5])}")


def _downgraded_to_base(names: set[str]) -> Status:
    others = sorted(names - OURS)
    if others:
        return Status(State.FOREIGN, None, head(), f"it holds {', '.join(others[:5])}")
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
    missing = sorted(OURS - names)
    if missing:
        return Status(State.BROKEN, revision, newest, f"missing: {', '.join(missing)}")
    return Status(State.CURRENT, revision, newest)


def require_current(connection: Connection, place: str) -> None:
    """Raise the `SchemaError` that fits, unless the schema is the one this release works with."""
    error = status(connection).error(place)
    if error is not None:
        raise error


def relations(connection: Connection) -> set[str]:
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
    return set(connection.execute(text(query), {"schema": schema_name(connection)}).scalars())


def schema_name(connection: Connection) -> str:
    """Give the PostgreSQL schema that is ours on this connection."""
    schema = schema_of(connection.get_execution_options())
    return schema or connection.exec_driver_sql("SELECT current_schema()").scalar_one()


def _qualified(connection: Connection, table: str) -> str:
    schema = schema_of(connection.get_execution_options())
    return f"{schema}.{table}" if schema else table
