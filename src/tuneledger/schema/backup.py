"""A copy of an SQLite file, made before its schema changes.

Nobody can write meanwhile, for the migration holds the file's write lock already. So the copy is of
exactly what the migration starts from, and is compared with it row by row before anything changes.

It stands beside the file as ``NAME.REVISION-TIME.backup`` (UTC). Of each revision the newest is kept,
and of these the ones of the three newest revisions.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tuneledger.engine import translated
from tuneledger.errors import DatabaseDamaged, DatabaseFull

__all__ = ["back_up"]

KEPT: Final = 3
"""Of how many revisions a backup is kept."""

_NAMED = re.compile(r"\.(\d+)-(\d{8}T\d{6}Z)\.backup")
_ROWS_AT_ONCE = 10_000
_SPARE_BYTES = 2**20


def back_up(path: Path, revision: str) -> Path:
    """Copy the file, verify the copy, remove those it stands for; give the copy's path.

    Raises `DatabaseFull` where the disk has no room for it and `DatabaseDamaged` where it differs.
    """
    _check_room(path)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = path.with_name(f"{path.name}.{revision}-{moment}.backup")
    partial = target.with_name(f"{target.name}.partial")
    try:
        with translated():
            _copy(path, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)
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


def _copy(path: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as source:
        with closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
            # One file that is whole by itself, with no -wal beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
        with closing(sqlite3.connect(f"{target.resolve().as_uri()}?mode=ro", uri=True)) as copy:
            if _content(copy) != _content(source):
                raise DatabaseDamaged(
                    f"the backup of {path} does not hold what the file holds; nothing was changed: "
                    f"look after the disk, then `tuneledger verify`"
                )
    with target.open("rb") as file:
        os.fsync(file.fileno())


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


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prune(path: Path) -> None:
    newest: dict[str, tuple[str, Path]] = {}
    superseded = []
    for file in path.parent.iterdir():
        named = (
            _NAMED.fullmatch(file.name.removeprefix(path.name)) if file.name.startswith(path.name) else None
        )
        if named is None:
            continue
        revision, moment = named.groups()
        older, newer = sorted([(moment, file), newest.get(revision, (moment, file))])
        newest[revision] = newer
        if older != newer:
            superseded.append(older[1])
    superseded += [newest[revision][1] for revision in sorted(newest)[:-KEPT]]
    for file in superseded:
        file.unlink(missing_ok=True)
