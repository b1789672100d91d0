"""Options that commands share, and the archive that they choose."""

from __future__ import annotations

import logging
import os
import re
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from tuneledger.cli.completing import metric_names
from tuneledger.errors import DatabaseUnavailable, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuneledger.archive import Archive
    from tuneledger.engine import Location

__all__ = [
    "DATABASE_VARIABLE",
    "AsCsv",
    "AsJson",
    "ConflictMode",
    "CreatedFrom",
    "CreatedTo",
    "Db",
    "Metric",
    "Model",
    "Provider",
    "Schema",
    "Status",
    "Yes",
    "confirmed",
    "existing",
    "location",
    "log",
    "open_archive",
    "unix_seconds",
]

DATABASE_VARIABLE: Final = "TUNELEDGER_DATABASE_URL"

log = logging.getLogger("tuneledger.cli")
"""Everything for people that is no answer goes here and so to standard error: notes at INFO (not with
``--quiet``), errors at ERROR, tracebacks at DEBUG (``--debug``)."""

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL|PATH",
        help=f"The archive: an SQLite file or postgresql://…; else {DATABASE_VARIABLE}, "
        "else a file in your data folder.",
    ),
]
Schema = Annotated[
    str | None,
    typer.Option(
        "--schema", metavar="NAME", help="The PostgreSQL schema it is in, `tuneledger` if not given."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Comma-separated rows on standard output.")]
Provider = Annotated[str | None, typer.Option(help="Only this provider's.")]
Model = Annotated[str | None, typer.Option(help="Only of this base model.")]
Status = Annotated[str | None, typer.Option(help="Only of this status, spelt as the provider does.")]
CreatedFrom = Annotated[
    str | None, typer.Option(metavar="TIME", help="Created then or later: a date, or UNIX seconds.")
]
CreatedTo = Annotated[
    str | None, typer.Option(metavar="TIME", help="Created then or earlier; of a date the whole day.")
]
ConflictMode = Literal["merge", "keep", "error", "replace"]
"""The values of `tuneledger.OnConflict`, which would bring SQLAlchemy with it."""
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
Metric = Annotated[
    str,
    typer.Argument(
        metavar="METRIC", help="A metric's name, as `show` lists them.", autocompletion=metric_names
    ),
]


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
        raise DatabaseUnavailable(f"there is no archive at {place}; `tuneledger archive PATH` makes one")
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


def unix_seconds(text: str | None, *, end: bool = False) -> int | None:
    """Read a time: UNIX seconds, or a date or time in ISO 8601, UTC where it names no zone.

    A date alone is its first second, or its last where it is the ``end`` of a range.
    """
    if text is None:
        return None
    from tuneledger.models import LAST_SECOND

    if text.isdecimal():
        if int(text) > LAST_SECOND:
            raise InvalidArgument(f"not a time: {text}; give UNIX seconds, not milliseconds")
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(
            f"not a time: {text!r}; give UNIX seconds, 2025-01-31 or 2025-01-31T12:00:00+01:00"
        ) from None
    if end and re.fullmatch(r"[\d-]+", text):
        moment = moment.replace(hour=23, minute=59, second=59)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def confirmed(question: str, *, yes: bool) -> bool:
    """Tell whether to go on: ``--yes``, or the answer of whoever sits at the terminal."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidArgument("nobody is there to be asked; --yes does it without asking")
    return typer.confirm(question, err=True)
