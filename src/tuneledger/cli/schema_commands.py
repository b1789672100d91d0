"""``db``: the schema of the archive."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.options import AsJson, Db, Schema, Yes, confirmed, existing, location, log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tuneledger.engine import Location
    from tuneledger.schema import Status

app = typer.Typer()
db_app = typer.Typer(no_args_is_help=False)
app.add_typer(db_app, name="db", help="Look at and change the archive's schema.")


@db_app.command()
def upgrade(
    revision: Annotated[
        str, typer.Argument(metavar="REVISION", help="Which one; the newest if not given.")
    ] = "head",
    *,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Make the archive's tables, or bring them up to this release; any number of times."""
    from tuneledger import schema as schemas
    from tuneledger.cli.presenting import print_line

    with _opened(location(db, schema, create=True), read_only=False) as engine:
        print_line(f"at revision {schemas.upgrade(engine, revision)}")


@db_app.command()
def downgrade(
    revision: Annotated[
        str, typer.Argument(metavar="REVISION", help="Which one; `base` removes the archive.")
    ],
    *,
    yes: Yes = False,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Take the schema back to an older release's."""
    from tuneledger import schema as schemas
    from tuneledger.cli.presenting import print_line

    place = existing(location(db, schema))
    with _opened(place, read_only=False) as engine:
        if not confirmed(f"Take {place} down to {revision}?", yes=yes):
            log.error("nothing was changed")
            raise typer.Exit(exit_codes.REFUSED)
        print_line(f"at revision {schemas.downgrade(engine, revision) or 'base'}")


@db_app.command()
def current(*, db: Db = None, schema: Schema = None, as_json: AsJson = False) -> None:
    """Say which revision the archive is at, and what that is to this release."""
    from tuneledger.cli.presenting import print_json, print_line

    _, found = _status(db, schema, note=not as_json)
    if as_json:
        print_json(
            {
                "state": found.state.value,
                "revision": found.revision,
                "head": found.head,
                "detail": found.detail,
            }
        )
    else:
        print_line(f"{found.revision or 'none'} ({found.state.value})")


@db_app.command()
def check(*, db: Db = None, schema: Schema = None) -> None:
    """Tell whether the archive is ready for this release; the exit code says so too."""
    from tuneledger.cli.presenting import print_line

    place, found = _status(db, schema, note=False)
    error = found.error(str(place))
    if error is not None:
        raise error
    print_line(f"{place} is ready, at revision {found.revision}")


def _status(db: str | None, schema: str | None, *, note: bool) -> tuple[Location, Status]:
    from tuneledger import schema as schemas
    from tuneledger.engine import READING, translated

    place = existing(location(db, schema, note=note))
    with (
        _opened(place, read_only=True) as engine,
        translated(),
        engine.connect().execution_options(**READING) as connection,
    ):
        return place, schemas.status(connection)


@contextmanager
def _opened(place: Location, *, read_only: bool) -> Iterator[Engine]:
    from tuneledger.engine import open_engine

    engine = open_engine(place, read_only=read_only)
    try:
        yield engine
    finally:
        engine.dispose()
