"""What others built on an archive's tables and views in PostgreSQL, which keeps these from being dropped.

It is named, so that somebody can decide about it. It is never dropped along: there is no CASCADE here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from tuneledger.errors import DependentObjects
from tuneledger.schema_state import OURS

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.engine import Connection

__all__ = ["dependents", "dependents_error"]

# A view depends by its rule, a column of a table's row type by that type. What goes with our tables by itself
# (indexes, triggers) depends otherwise than normally ('n').
_DEPENDENTS = """
WITH ours AS (
    SELECT c.oid, c.relname, c.reltype, t.typarray
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_type AS t ON t.oid = c.reltype
    WHERE n.nspname = :schema AND c.relname = ANY(:ours)
), dropped AS (
    SELECT * FROM ours WHERE relname = ANY(:dropped)
), used (classid, objid, of) AS (
    SELECT CAST('pg_catalog.pg_class' AS regclass), oid, oid FROM dropped
    UNION ALL SELECT CAST('pg_catalog.pg_type' AS regclass), reltype, oid FROM dropped
    UNION ALL SELECT CAST('pg_catalog.pg_type' AS regclass), typarray, oid FROM dropped
)
SELECT DISTINCT
       CASE WHEN r.rulename = '_RETURN'
            THEN pg_describe_object(CAST('pg_catalog.pg_class' AS regclass), r.ev_class, 0)
            ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END AS dependent,
       CAST(CAST(used.of AS regclass) AS text) AS needed
FROM pg_catalog.pg_depend AS d
JOIN used ON used.classid = d.refclassid AND used.objid = d.refobjid
LEFT JOIN pg_catalog.pg_rewrite AS r
       ON d.classid = CAST('pg_catalog.pg_rewrite' AS regclass) AND r.oid = d.objid
LEFT JOIN pg_catalog.pg_constraint AS k
       ON d.classid = CAST('pg_catalog.pg_constraint' AS regclass) AND k.oid = d.objid
WHERE d.deptype = 'n'
  AND COALESCE(r.ev_class, k.conrelid, 0) NOT IN (SELECT oid FROM ours)
ORDER BY 1, 2
"""


def dependents(connection: Connection, schema: str, dropped: Collection[str]) -> tuple[str, ...]:
    """Name what others built on these tables and views of ours, each with what it stands on, in order.

    In the caller's transaction, whose search path is afterwards what it was.
    """
    path = connection.exec_driver_sql("SHOW search_path").scalar_one()
    wanted = {"schema": schema, "ours": sorted(OURS), "dropped": sorted(dropped)}
    _search(connection, "")  # so that every name comes with its schema
    found = connection.execute(text(_DEPENDENTS), wanted).all()
    _search(connection, path)
    return tuple(f"{dependent} (on {needed})" for dependent, needed in found)


def _search(connection: Connection, path: str) -> None:
    connection.execute(text("SELECT set_config('search_path', :path, true)"), {"path": path})


def dependents_error(connection: Connection, schema: str, place: str) -> DependentObjects:
    """Give the error that names what depends on the archive.

    In a transaction of its own, for the one before failed.
    """
    with connection.begin():
        return DependentObjects.of(place, dependents(connection, schema, OURS))
