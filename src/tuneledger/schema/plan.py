"""What an upgrade would do, told before it does it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from typing import TYPE_CHECKING

from tuneledger.engine import READING, translated
from tuneledger.schema.dependents import dependents
from tuneledger.schema.guarding import place_of
from tuneledger.schema_state import State, relations, revisions, schema_name, status

if TYPE_CHECKING:
    from types import ModuleType

    from sqlalchemy.engine import Connection, Engine

__all__ = ["PlannedStep", "plan"]


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One pending revision."""

    revision: str
    does: str
    locks: str
    """Which locks it takes on this database, and for how long."""
    rows: dict[str, int]
    """How many rows there are now in the tables whose rows it reads or writes."""
    beside_previous: str
    """Whether the previous release can go on working while it runs and afterwards."""
    dependents: tuple[str, ...]
    """What others on PostgreSQL built on what it makes anew. While there is any the upgrade is refused."""


def plan(engine: Engine) -> list[PlannedStep]:
    """Give what `upgrade` would do, step by step; nothing where the schema is the newest. Changes nothing.

    Raises `SchemaForeign`, `SchemaAhead` or `SchemaBroken` where an upgrade is no answer.
    """
    with translated(), engine.connect().execution_options(**READING) as connection:
        found = status(connection)
        error = found.error(place_of(engine))
        if error and found.state not in {State.EMPTY, State.BEHIND}:
            raise error
        pending = [revision for revision in revisions() if revision > (found.revision or "")]
        return [_step(connection, revision) for revision in pending]


def _step(connection: Connection, revision: str) -> PlannedStep:
    module = migration(revision)
    there = relations(connection)
    prefix = "" if connection.dialect.name == "sqlite" else f"{schema_name(connection)}."
    counts = {
        table: connection.exec_driver_sql(f"SELECT count(*) FROM {prefix}{table}").scalar_one()  # noqa: S608 - ours
        for table in module.touches
        if table in there
    }
    others = () if not prefix else dependents(connection, schema_name(connection), module.remakes)
    return PlannedStep(
        revision,
        does=(module.upgrade.__doc__ or "").strip(),
        locks=module.locks[connection.dialect.name],
        rows=counts,
        beside_previous=module.beside_previous,
        dependents=others,
    )


@cache
def migration(revision: str) -> ModuleType:
    """Import the module of a revision."""
    versions = resources.files("tuneledger.migrations") / "versions"
    names = [entry.name.removesuffix(".py") for entry in versions.iterdir()]
    (name,) = [name for name in names if name.startswith(f"{revision}_")]
    return import_module(f"tuneledger.migrations.versions.{name}")
