"""Many rows at once, by each engine's fastest way, through the tables as SQLAlchemy knows them.

SQLAlchemy's own multi-row INSERT compiles its text at every call and reaches a fifth of the driver's
speed; ``python -m benchmarks`` shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import BigInteger, Double, Integer, SmallInteger, Table, Text

from tuneledger.engine import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection
    from sqlalchemy.orm import DeclarativeBase

_POSTGRESQL_TYPES = (
    (BigInteger, "int8"),
    (SmallInteger, "int2"),
    (Integer, "int4"),
    (Double, "float8"),
    (Text, "text"),
)


def insert_rows(
    connection: Connection,
    row_class: type[DeclarativeBase],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    schema: str | None,
    on_conflict: str = "",
) -> None:
    """Insert ``rows``, each with a value for every one of ``columns``, into the table of ``row_class``.

    ``schema`` is the PostgreSQL schema that the table stands in, None on SQLite.

    Fastest in key order. A conflict with a stored key is an error, unless ``on_conflict``, an ON CONFLICT
    clause that both engines read alike, says otherwise.
    """
    if not rows:
        return
    table = cast("Table", row_class.__table__)
    if connection.dialect.name == "sqlite":
        sqlite.insert_rows(connection, table.name, columns, rows, on_conflict)
        return
    types = {name: _type_of(table, name) for name in columns}
    place = f"{schema}.{table.name}" if schema else table.name
    postgresql.insert_rows(connection, place, types, rows, on_conflict)


def _type_of(table: Table, column: str) -> str:
    kind = table.c[column].type
    return next(name for known, name in _POSTGRESQL_TYPES if isinstance(kind, known))
