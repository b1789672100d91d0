"""A copy of an SQLite file, made before its schema changes.

Nobody can write meanwhile, for the migration holds the file's write lock already. So the copy is of
exactly what the migration starts from, and is compared with it row by row before anything changes.

It stands beside the file as ``NAME.REVISION-TIME.backup`` (UTC). Of each revision the newest is kept,
and of these the ones of the three newest revisions.
"""

from __future__ import annotations

import hashlib
import marshal
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tuneledger.engine import copy_file, sync_folder, translated
from tuneledger.engine.sqlite import read_only_uri
from tuneledger.errors import DatabaseDamaged, DatabaseFull

__all__ = ["back_up"]

KEPT: Final = 3
"""Of how many revisions a backup is kept."""

_NAMED = re.compile(r"\.(\d+)-\d{8}T\d{6}Z\.backup")
_ROWS_AT_ONCE = 10_000
_SPARE_BYTES = 2**20


def back_up(path: Path, revision: str) -> Path:
    """Copy the file, verify the copy, remove those it stands for; give the copy's path.

    Raises `DatabaseFull` where the disk has no room for it and `DatabaseDamaged` where it differs.
    """
    _check_room(path)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = path.with_name(f"{path.name}.{revision}-{moment}.backup")
    # One at a time, for the file is locked: what a killed one left here is replaced.
    partial = path.with_name(f"{path.name}.backup.partial")
    partial.unlink(missing_ok=True)
    try:
        copy_file(path, partial)
        _compare(path, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.absolute().parent)
    _prune(path)
    return target


def _check_room(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    needed = path.stat().st_size + (log.stat().st_size if log.exists() else 0) + _SPARE_BYTES
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise DatabaseFull(
            f"a backup of {path} needs {needed:,} bytes and {free:,} are free; nothing was changed "
            f"(free some, or --no-backup goes without)"
        )


def _compare(path: Path, copy: Path) -> None:
    contents = []
    for file in (path, copy):
        with translated(), closing(sqlite3.connect(read_only_uri(file), uri=True)) as connection:
            contents.append(_content(connection))
    if contents[0] != contents[1]:
        raise DatabaseDamaged(
            f"the backup of {path} does not hold what the file holds; nothing was changed: "
            f"look after the disk, then `tuneledger verify`"
        )


def _content(connection: sqlite3.Connection) -> bytes:
    """Give a hash of every row of every table, and of the schema."""
    found = hashlib.blake2b()
    schema = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    ).fetchall()
    found.update(marshal.dumps(schema, 2))
    for kind, name, *_ in schema:
        if kind == "table":
            rows = connection.execute(f'SELECT * FROM "{name}"')  # noqa: S608 - the file's own table names
            while some := rows.fetchmany(_ROWS_AT_ONCE):
                found.update(marshal.dumps(some, 2))
    return found.digest()


def _prune(path: Path) -> None:
    backups: dict[str, list[Path]] = {}
    for file in sorted(path.parent.iterdir()):  # and so by time within a revision
        named = _NAMED.fullmatch(file.name.removeprefix(path.name))
        if named and file.name.startswith(path.name):
            backups.setdefault(named[1], []).append(file)
    kept = {backups[revision][-1] for revision in sorted(backups)[-KEPT:]}
    for file in {file for files in backups.values() for file in files} - kept:
        file.unlink(missing_ok=True)
