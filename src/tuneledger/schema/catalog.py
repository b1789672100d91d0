"""What a schema consists of, by the engine's own catalog, in a form that two of them can be compared by.

Alembic's autogenerate sees no CHECK, no primary key, no view; the catalogs hold everything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

__all__ = ["Catalog", "postgresql_catalog", "sqlite_catalog"]

Catalog = dict[str, dict[str, str]]
"""Each table or view, by ``table NAME`` or ``view NAME``, with its parts (``column NAME``, ``index
NAME``, …) and what each is, as text that is equal exactly where the parts are."""

# -- SQLite ---------------------------------------------------------------------------------------

# Quoted text and names, words and numbers, single signs; comments and space go.
_SQL_SIGN = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\w[\w.]*|\S""", re.DOTALL
)
_CONSTRAINTS = {"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"}


def sqlite_catalog(connection: Connection) -> Catalog:
    """Read the catalog of an SQLite file, from the statements that made it, as SQLite keeps them."""
    query = (
        "SELECT type, name, tbl_name, sql FROM sqlite_master "
        "WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
        "ORDER BY type = 'index', type = 'trigger', name"
    )
    found: Catalog = {}
    for kind, name, table, statement in connection.exec_driver_sql(query):
        signs = _signs(statement)
        if kind == "table":
            found[f"table {name}"] = dict(_table_parts(signs))
        elif kind == "view":
            found[f"view {name}"] = {"definition": " ".join(signs)}
        else:
            owner = f"table {table}" if f"table {table}" in found else f"view {table}"
            found[owner][f"{kind} {name}"] = " ".join(signs)
    return found


def _signs(statement: str) -> list[str]:
    return [sign for sign in _SQL_SIGN.findall(statement) if not sign.startswith(("--", "/*"))]


def _table_parts(signs: list[str]) -> Iterator[tuple[str, str]]:
    position = signs.index("(")
    columns = []
    item: list[str] = []
    depth = 1
    while depth:
        position += 1
        sign = signs[position]
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth == 0 or (depth == 1 and sign == ","):
            name, definition = _item(item)
            if name.startswith("column "):
                columns.append(name.removeprefix("column "))
            yield name, definition
            item = []
        else:
            item.append(sign)
    yield "options", " ".join(signs[position + 1 :])
    yield "order of columns", ", ".join(columns)


def _item(signs: list[str]) -> tuple[str, str]:
    first = signs[0].upper()
    if first == "CONSTRAINT":
        return f"constraint {signs[1]}", " ".join(signs[2:])
    if first in _CONSTRAINTS:
        return " ".join(signs), "(unnamed)"
    return f"column {signs[0]}", " ".join(signs[1:])


# -- PostgreSQL -----------------------------------------------------------------------------------

_RELATIONS = """
SELECT c.oid, CASE WHEN c.relkind IN ('v', 'm') THEN 'view ' ELSE 'table ' END || c.relname,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid, true) END
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_COLUMNS = """
SELECT a.attrelid, a.attname,
       concat_ws(' ',
           format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attcollation <> t.typcollation THEN 'collate ' || l.collname END,
           CASE WHEN a.attnotnull THEN 'not null' END,
           CASE a.attidentity WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity' END,
           'default ' || pg_get_expr(d.adbin, d.adrelid))
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = a.attcollation
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(:oids) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""
# PostgreSQL 18 lists NOT NULL among the constraints as well; the columns above say it on every release.
_PARTS = """
SELECT conrelid, 'constraint ' || conname, pg_get_constraintdef(oid, true)
FROM pg_catalog.pg_constraint WHERE conrelid = ANY(:oids) AND contype IN ('p', 'u', 'f', 'c', 'x')
UNION ALL
SELECT i.indrelid, 'index ' || c.relname, pg_get_indexdef(i.indexrelid, 0, true)
FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY(:oids)
UNION ALL
SELECT tgrelid, 'trigger ' || tgname, pg_get_triggerdef(oid, true)
FROM pg_catalog.pg_trigger WHERE tgrelid = ANY(:oids) AND NOT tgisinternal
"""


def postgresql_catalog(connection: Connection, schema: str) -> Catalog:
    """Read the catalog of one schema.

    The transaction's search path becomes that schema, so that definitions name their tables without it.
    """
    connection.execute(text("SELECT set_config('search_path', :schema, true)"), {"schema": schema})
    relations = connection.execute(text(_RELATIONS), {"schema": schema}).all()
    parts: dict[int, dict[str, str]] = {oid: {} for oid, *_ in relations}
    columns: dict[int, list[str]] = {oid: [] for oid in parts}
    for oid, column, described in connection.execute(text(_COLUMNS), {"oids": list(parts)}):
        parts[oid][f"column {column}"] = described
        columns[oid].append(column)
    for oid, part, described in connection.execute(text(_PARTS), {"oids": list(parts)}):
        parts[oid][part] = described
    for oid, _, definition in relations:
        parts[oid]["order of columns"] = ", ".join(columns[oid])
        if definition is not None:
            parts[oid]["definition"] = " ".join(definition.split())
    return {name: parts[oid] for oid, name, _ in relations}
