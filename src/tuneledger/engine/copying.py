"""A copy of an SQLite file while others write to it.

Copying the file itself would leave out what still stands in its log, or tear a transaction apart.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tuneledger.engine.failures import translated
from tuneledger.engine.sqlite import read_only_uri

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["copy_file", "sync_folder"]


def copy_file(source: Path, target: Path) -> None:
    """Copy the newest committed state of ``source`` to a new file, readable by its owner alone, and sync it.

    The copy is whole by itself: it has no log, and can be read where nothing can be written.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with (
        translated(),
        closing(sqlite3.connect(read_only_uri(source), uri=True)) as original,
        closing(sqlite3.connect(target)) as copy,
    ):
        original.backup(copy)  # in one step, in one snapshot: it never begins again because of writers
        copy.execute("PRAGMA journal_mode = DELETE")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder last through a power cut."""
    if os.name == "nt":  # pragma: no cover - Windows opens no folders, and needs none of this
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
