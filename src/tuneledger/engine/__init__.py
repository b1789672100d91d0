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
from tuneledger.engine.postgresql import in_one_trip
from tuneledger.engine.rows import insert_columns, insert_into, insert_rows
from tuneledger.engine.sqlite import insert_text, writing_transaction
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
    "in_one_trip",
    "insert_columns",
    "insert_into",
    "insert_rows",
    "insert_text",
    "locate",
    "location_of",
    "open_engine",
    "read_one_snapshot",
    "schema_options",
    "sync_folder",
    "translated",
    "wait",
    "writing_transaction",
]
