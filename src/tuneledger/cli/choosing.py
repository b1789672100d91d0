"""The archive that a command works on: which one, and how it is opened."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tuneledger.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuneledger.archive import Archive
    from tuneledger.engine import Location

__all__ = ["DATABASE_VARIABLE", "existing", "location", "log", "open_archive"]

DATABASE_VARIABLE: Final = "TUNELEDGER_DATABASE_URL"

log = logging.getLogger("tuneledger.cli")
"""Everything for people that is no answer goes here and so to standard error: notes at INFO (not with
``--quiet``), errors at ERROR, tracebacks at DEBUG (``--debug``)."""


def location(db: str | None, schema: str | None, *, note: bool = True, create: bool = False) -> Location:
    """Choose the archive: ``--db``, else the environment, else a file in the user's data folder.

    ``create`` makes that folder, readable by its owner alone. With ``note`` it is said which one was chosen.
    """
    from tuneledger.engine import locate

    if db is not None:
        found, source = locate(db, schema), "--db"
    elif from_environment := os.environ.get(DATABASE_VARIABLE):
        found, source = locate(from_environment, schema), DATABASE_VARIABLE
    else:
        from platformdirs import user_data_path

        folder = user_data_path("tuneledger", appauthor=False)
        found, source = locate(folder / "archive.db", schema), "the default; --db names another"
        if create:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if note:
        log.info("archive: %s (%s)", found, source)
    return found


def existing(place: Location) -> Location:
    """Give ``place`` back if its file exists (a server is asked when it is connected to)."""
    if place.path is not None and not place.path.exists():
        where = "" if place.path.is_absolute() else f" in {Path.cwd()}"
        raise DatabaseUnavailable(
            f"there is no archive at {place}{where}; `tuneledger archive PATH` makes one"
        )
    return place


@contextmanager
def open_archive(
    db: str | None, schema: str | None, *, note: bool = True, write: bool = False
) -> Iterator[Archive]:
    """Open the archive that the options choose; read-only unless ``write``, which also makes a file."""
    from tuneledger.archive import Archive

    place = location(db, schema, note=note, create=write)
    if not write:
        existing(place)

    with Archive(place, read_only=not write) as archive:
        yield archive
