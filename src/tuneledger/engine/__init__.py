"""Connections: all that differs between SQLite and PostgreSQL stands in this folder.

Each engine has one module with what it needs at connect time and its fast way to insert many rows;
`failures` turns what drivers raise into our own errors.
"""

from tuneledger.engine.copying import copy_file, sync_folder
from tuneledger.engine.failures import translated
from tuneledger.engine.opening import (
    BINARY_RESULTS,
    MIGRATING,
    READING,
    WRITING,
    Location,
    check_suitable,
    has_citus,
    identity,
    locate,
    location_of,
    open_engine,
    read_one_snapshot,
    schema_options,
)
from tuneledger.engine.rows import insert_columns, insert_into, insert_rows
from tuneledger.engine.waiting import wait

__all__ = [
    "BINARY_RESULTS",
    "MIGRATING",
    "READING",
    "WRITING",
    "Location",
    "check_suitable",
    "copy_file",
    "has_citus",
    "identity",
    "insert_columns",
    "insert_into",
    "insert_rows",
    "locate",
    "location_of",
    "open_engine",
    "read_one_snapshot",
    "schema_options",
    "sync_folder",
    "translated",
    "wait",
]
