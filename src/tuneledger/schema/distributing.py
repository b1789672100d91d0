"""An archive on Citus, spread over its nodes: whole jobs, each on the shard that its key's hash names.

Citus is an extension of PostgreSQL. ``jobs`` and ``metric_names`` become reference tables, of which every
node has a copy; every other table of ours is distributed by ``job_key``, all of them alike, so that what
belongs to one job lies on one node. docs/scale.md tells what that changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from tuneledger.engine import has_citus
from tuneledger.errors import InvalidArgument, NotDistributable
from tuneledger.schema.guarding import guarded, place_of
from tuneledger.schema_state import require_current
from tuneledger.tables import Base, JobDigestRow, JobRow, MetricNameRow

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

__all__ = ["REFERENCE_TABLES", "Distribution", "distribute", "keep_distributed"]

REFERENCE_TABLES: Final = (JobRow.__tablename__, MetricNameRow.__tablename__)
_FIRST: Final = JobDigestRow.__tablename__
"""The distributed table that the others are laid beside."""
_KEY: Final = "job_key"
_MOST_SHARDS: Final = 64_000

_EXTENSION = "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'citus'"
_NODES = "SELECT count(*) FROM pg_catalog.pg_dist_node WHERE isactive AND shouldhaveshards"
_PLACED = """
SELECT c.relname, CASE WHEN p.partmethod = 'h' THEN column_to_column_name(p.logicalrelid, p.partkey)
                       WHEN p.repmodel = 't' THEN 'reference' ELSE 'local' END
FROM pg_catalog.pg_dist_partition AS p
JOIN pg_catalog.pg_class AS c ON c.oid = p.logicalrelid
WHERE c.relnamespace = CAST(current_schema() AS regnamespace)
"""
_SHARDS = "SELECT count(*) FROM pg_catalog.pg_dist_shard WHERE logicalrelid = CAST(:table AS regclass)"
_TABLES = (
    "SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = CAST(current_schema() AS regnamespace)"
)


@dataclass(frozen=True, slots=True)
class Distribution:
    """How an archive lies on Citus."""

    citus: str
    """Its version."""
    nodes: int
    """Those that hold shards."""
    shards: int
    distributed: list[str]
    """The tables that were not distributed before; none where everything was."""


def distribute(engine: Engine, *, shards: int | None = None) -> Distribution:
    """Make a PostgreSQL archive on Citus a distributed one, empty or full, all of it or nothing.

    Any number of times: what is distributed stays as it is. ``shards`` is how many parts the jobs lie in
    (None: as Citus is set, 32 as a rule); it is chosen once. Others' writes wait meanwhile.
    Raises `NotDistributable` where there is no Citus or the archive cannot be distributed so, and the
    `SchemaError` that fits where it is not at this release's revision.
    """
    if engine.dialect.name != "postgresql":
        raise InvalidArgument(
            "an SQLite archive is one file; `tuneledger copy` brings it to PostgreSQL, which Citus spreads"
        )
    if shards is not None and not 1 <= shards <= _MOST_SHARDS:
        raise InvalidArgument(f"shards is a number from 1 to {_MOST_SHARDS}")
    place = place_of(engine)
    with guarded(engine) as connection:
        require_current(connection, place)
        version = connection.exec_driver_sql(_EXTENSION).scalar()
        if version is None:
            raise NotDistributable(
                f"{place} is no Citus database; install Citus on every node, list it in "
                f"shared_preload_libraries, and run CREATE EXTENSION citus in this database (docs/scale.md)"
            )
        distributed = _distribute(connection, place, shards)  # pragma: no cover - only where Citus is
        return _looked_at(connection, version, distributed)  # pragma: no cover - the same


def keep_distributed(connection: Connection) -> None:
    """Distribute what a migration added to a distributed archive; elsewhere nothing is done."""
    if has_citus(connection) and JobRow.__tablename__ in _placed(connection):
        _distribute(connection, place_of(connection.engine), None)  # pragma: no cover - only where Citus is


def _looked_at(
    connection: Connection, version: str, distributed: list[str]
) -> Distribution:  # pragma: no cover - only where Citus is
    nodes: int = connection.exec_driver_sql(_NODES).scalar_one()
    shards: int = connection.execute(text(_SHARDS), {"table": _FIRST}).scalar_one()
    return Distribution(version, nodes, shards, distributed)


def _placed(connection: Connection) -> dict[str, str]:  # pragma: no cover - only where Citus is
    """Give how tables lie: by table its distribution column, ``reference`` or ``local``."""
    return dict(iter(connection.exec_driver_sql(_PLACED)))


def _distribute(
    connection: Connection, place: str, shards: int | None
) -> list[str]:  # pragma: no cover - only where Citus is
    found = _placed(connection)
    others = [table.name for table in Base.metadata.sorted_tables if table.name not in REFERENCE_TABLES]
    wanted = dict.fromkeys(REFERENCE_TABLES, "reference") | dict.fromkeys((_FIRST, *others), _KEY)
    there = set(connection.exec_driver_sql(_TABLES).scalars())
    done = []
    for table, way in wanted.items():
        lies = found.get(table, "local")
        if table not in there or lies == way:
            continue
        if lies != "local":
            raise NotDistributable(
                f"{table} of {place} is distributed in another way ({lies}, not {way}); undo that by "
                f"SELECT undistribute_table('{table}'), then try again"
            )
        if way == "reference":
            connection.execute(text("SELECT create_reference_table(:table)"), {"table": table})
        elif table == _FIRST:
            chosen = {"table": table, "key": _KEY, "shards": shards}
            connection.execute(
                text(
                    "SELECT create_distributed_table(:table, :key, colocate_with => 'none', "
                    "shard_count => CAST(:shards AS integer))"
                ),
                chosen,
            )
        else:
            chosen = {"table": table, "key": _KEY, "first": _FIRST}
            connection.execute(
                text("SELECT create_distributed_table(:table, :key, colocate_with => :first)"), chosen
            )
        done.append(table)
    return done
