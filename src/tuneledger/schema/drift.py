"""Whether a schema is what its revision says: its catalog beside that of a fresh one, part by part."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuneledger.engine import open_engine, translated
from tuneledger.schema.catalog import Catalog, postgresql_catalog, sqlite_catalog
from tuneledger.schema.guarding import guarded
from tuneledger.schema.migrating import run_command
from tuneledger.schema_state import State, head, schema_name, status
from tuneledger.tables import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Engine

__all__ = ["catalog", "declared", "differences", "drift", "reference"]


def drift(engine: Engine) -> list[str]:
    """Say how the schema differs from what its revision made, one line each; nothing where it is the same.

    Nothing is changed: PostgreSQL makes the tables to compare with as temporary ones, in a transaction
    that is rolled back; the role needs TEMPORARY on the database, which everybody has unless it was
    taken away. A schema without a revision is compared with no tables at all, unless it has all of ours:
    then with the newest.
    """
    with translated(), engine.connect() as connection:
        said = status(connection)
        revision = head() if said.state is State.BROKEN and said.revision is None else said.revision
        found = catalog(connection)
    return differences(found, reference(engine, revision) if revision else {})


def catalog(connection: Connection) -> Catalog:
    """Read the catalog of the archive on this connection."""
    if connection.dialect.name == "sqlite":
        return sqlite_catalog(connection)
    return postgresql_catalog(connection, schema_name(connection))


def reference(engine: Engine, revision: str) -> Catalog:
    """Give the catalog that the migrations make up to ``revision``, on a server like that of ``engine``."""
    with _nowhere(engine) as connection:
        run_command(connection, "upgrade", revision)
        return catalog(connection)


def declared(engine: Engine) -> Catalog:
    """Give the catalog of the tables as the ORM declares them; views are made by migrations alone."""
    with _nowhere(engine) as connection:
        Base.metadata.create_all(connection)
        return catalog(connection)


@contextmanager
def _nowhere(engine: Engine) -> Iterator[Connection]:
    """Give a guarded connection on which tables may be made that nobody else ever sees."""
    if engine.dialect.name == "sqlite":
        memory = open_engine("sqlite://")
        try:
            with guarded(memory) as connection:
                yield connection
        finally:
            memory.dispose()
        return
    with translated(), engine.connect() as plain:
        connection = plain.execution_options(schema_translate_map=None, tuneledger_guarded=True)
        with connection.begin() as transaction:
            connection.exec_driver_sql("SET LOCAL search_path TO pg_temp")
            yield connection
            transaction.rollback()


def differences(found: Catalog, wanted: Catalog) -> list[str]:
    """Name each part of ``found`` that is not as in ``wanted``, in alphabetical order."""
    lines = []
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found:
            lines.append(f"{name} is missing")
        elif name not in wanted:
            lines.append(f"{name} is not part of this revision")
        else:
            lines += [f"{name}: {line}" for line in _different_parts(found[name], wanted[name])]
    return lines


def _different_parts(found: dict[str, str], wanted: dict[str, str]) -> Iterator[str]:
    for part in sorted(found.keys() | wanted.keys()):
        if part not in found:
            yield f"{part} is missing"
        elif part not in wanted:
            yield f"{part} is not part of this revision"
        elif found[part] != wanted[part]:
            yield f"{part} is {found[part]!r}, not {wanted[part]!r}"
