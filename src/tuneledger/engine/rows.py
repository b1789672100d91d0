"""Many rows at once, by each engine's fastest way, through the tables as SQLAlchemy knows them.

SQLAlchemy's own multi-row INSERT compiles its text at every call and reaches a fifth of the driver's
speed; ``python -m benchmarks`` shows it. So rows are handed on column by column, never made one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import BigInteger, Double, Integer, SmallInteger, Table, Text

from tuneledger.engine import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.engine import Connection
    from sqlalchemy.orm import DeclarativeBase

_POSTGRESQL_TYPES = (
    (BigInteger, "int8"),
    (SmallInteger, "int2"),
    (Integer, "int4"),
    (Double, "float8"),
    (Text, "text"),
)

_FEW = 50
"""Rows below which blocks are put together: one statement costs more than binding what they share again."""


def insert_into(dialect: str, row_class: type[DeclarativeBase]) -> Any:
    """Begin an INSERT that knows ON CONFLICT, as the dialect of that name spells it."""
    # Only the one that is used: PostgreSQL's takes a tenth of the time that a command needs to start.
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as insert_sqlite

        return insert_sqlite(row_class)
    from sqlalchemy.dialects.postgresql import insert as insert_postgresql

    return insert_postgresql(row_class)


def insert_rows(
    connection: Connection,
    row_class: type[DeclarativeBase],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    schema: str | None,
    on_conflict: str = "",
) -> None:
    """Insert ``rows``, each with a value for every one of ``columns``; see `insert_columns`."""
    if rows:
        block = dict(zip(columns, zip(*rows, strict=True), strict=True))
        insert_columns(connection, row_class, {}, [({}, block)], schema=schema, on_conflict=on_conflict)


def insert_columns(
    connection: Connection,
    row_class: type[DeclarativeBase],
    shared: Mapping[str, Any],
    blocks: Iterable[tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]]],
    *,
    schema: str | None,
    on_conflict: str = "",
) -> None:
    """Insert rows given by columns into the table of ``row_class``.

    ``shared`` are values that every row has. A block gives values that its rows share and its columns, all of
    one length, at least one; a column that one block lacks is NULL there. ``schema`` is the PostgreSQL schema
    that the table stands in, None on SQLite.

    Fastest in key order. A conflict with a stored key is an error, unless ``on_conflict``, an ON CONFLICT
    clause that both engines read alike, says otherwise.
    """
    table = cast("Table", row_class.__table__)
    given = [({**shared, **fixed}, columns) for fixed, columns in blocks]
    rows = sum(_length(columns) for _, columns in given)
    names = dict.fromkeys(name for fixed, columns in given for name in (*fixed, *columns))
    if connection.dialect.name == "sqlite":
        if rows <= _FEW and len(given) > 1:
            given = [({}, dict(zip(names, _joined(names, given), strict=True)))]
        sqlite.insert_columns(connection, table.name, given, on_conflict)
        return
    types = {name: _type_of(table.columns[name].type) for name in names}
    place = f"{schema}.{table.name}" if schema else table.name
    postgresql.insert_columns(connection, place, types, _joined(names, given), on_conflict)


def _length(columns: Mapping[str, Sequence[Any]]) -> int:
    return len(next(iter(columns.values())))


def _joined(
    names: Iterable[str], blocks: Sequence[tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]]]
) -> list[list[Any]]:
    """Give each column over all blocks."""
    joined = []
    for name in names:
        whole: list[Any] = []
        for fixed, columns in blocks:
            whole += columns[name] if name in columns else [fixed.get(name)] * _length(columns)
        joined.append(whole)
    return joined


def _type_of(kind: object) -> str:
    return next(name for known, name in _POSTGRESQL_TYPES if isinstance(kind, known))
