"""``db``: the schema of the archive."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.choosing import existing, location, log
from tuneledger.cli.options import AsJson, Db, Schema, Yes, confirmed
from tuneledger.errors import SchemaBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import NoReturn

    from sqlalchemy import Engine

    from tuneledger.engine import Location
    from tuneledger.schema import Distribution, Status

app = typer.Typer()
db_app = typer.Typer(no_args_is_help=False)
app.add_typer(db_app, name="db", help="Look at and change the archive's schema.")

_NoBackup = Annotated[
    bool, typer.Option("--no-backup", help="Make no copy of an SQLite file before it is changed.")
]


@db_app.command()
def upgrade(
    revision: Annotated[
        str, typer.Argument(metavar="REVISION", help="Which one; the newest if not given.")
    ] = "head",
    *,
    no_backup: _NoBackup = False,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Make the archive's tables, or bring them up to this release; any number of times.

    An SQLite file is copied first, to FILE.REVISION-TIME.backup beside it; of each of the three newest
    revisions the newest copy is kept.
    """
    from tuneledger import schema as schemas
    from tuneledger.cli.presenting import print_line

    with _opened(location(db, schema, create=True)) as engine, _progress() as progress:
        at = schemas.upgrade(
            engine, revision, backup=not no_backup, tell_backup=_tell_backup, progress=progress
        )
    print_line(f"at revision {at}")


@db_app.command()
def downgrade(
    revision: Annotated[
        str, typer.Argument(metavar="REVISION", help="Which one; `base` removes the archive.")
    ],
    *,
    accept_data_loss: Annotated[
        bool,
        typer.Option("--accept-data-loss", help="Do it although rows are lost that nothing brings back."),
    ] = False,
    no_backup: _NoBackup = False,
    yes: Yes = False,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Take the schema back to an older release's; refused where that loses rows.

    An SQLite file is copied first, as by `upgrade`.
    """
    from tuneledger import schema as schemas
    from tuneledger.cli.presenting import print_line

    if revision != "base":
        schemas.known(revision)  # before anybody is asked to agree to it
    place = existing(location(db, schema))
    with _opened(place) as engine:
        if not confirmed(f"Take {place} down to {revision}?", yes=yes):
            _declined()
        at = schemas.downgrade(
            engine,
            revision,
            accept_data_loss=accept_data_loss,
            backup=not no_backup,
            tell_backup=_tell_backup,
        )
    print_line(f"at revision {at or 'base'}")


@db_app.command()
def plan(*, db: Db = None, schema: Schema = None, as_json: AsJson = False) -> None:
    """Say what `upgrade` would do: steps, locks, rows, what stands in its way; changes nothing.

    Also whether the previous release can go on meanwhile. What others on PostgreSQL built on a view that is
    made anew is named: until it is dropped, the upgrade is refused.
    """
    from tuneledger import schema as schemas
    from tuneledger.cli.presenting import print_json, print_line
    from tuneledger.engine import locate

    place = location(db, schema, note=not as_json)
    if place.path is not None and not place.path.exists():
        place = locate("sqlite://")  # planned as what it will be made from, and not made
    with _opened(place, read_only=place.path is not None) as engine:
        steps = schemas.plan(engine)
    if as_json:
        print_json([asdict(step) for step in steps])
        return
    if not steps:
        print_line("nothing to do")
    for step in steps:
        rows = ", ".join(f"{count} in {table}" for table, count in step.rows.items()) or "none"
        print_line(f"{step.revision}  {step.does}")
        print_line(f"      locks: {step.locks}")
        print_line(f"      rows it reads or writes: {rows}")
        print_line(f"      previous release beside it: {step.beside_previous}")
        if step.dependents:
            print_line(f"      refused until these of others are dropped: {', '.join(step.dependents)}")


@db_app.command()
def sql(
    revisions: Annotated[
        str,
        typer.Argument(
            metavar="FROM:TO", help="Such as 0001:0003; TO alone is from base. All of them if not given."
        ),
    ] = "base:head",
    *,
    dialect: Annotated[
        Literal["sqlite", "postgresql"], typer.Option("--dialect", help="The database's kind.")
    ],
    schema: Schema = None,
) -> None:
    """Print migrations as SQL that sqlite3 or psql runs as it is; no database is looked at.

    Down, where FROM is the newer one: whatever that loses.
    """
    from tuneledger import schema as schemas
    from tuneledger.cli.presenting import print_line

    print_line(schemas.sql(dialect, revisions, schema=schema).rstrip())


@db_app.command()
def current(*, db: Db = None, schema: Schema = None, as_json: AsJson = False) -> None:
    """Say which revision the archive is at, and what that is to this release."""
    from tuneledger.cli.presenting import print_json, print_line

    with _opened(existing(location(db, schema, note=not as_json)), read_only=True) as engine:
        found = _status(engine)
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
    """Tell whether the archive is ready for this release, and how its schema differs from what it should be.

    The exit code says so too. Nothing is changed.
    """
    from tuneledger import schema as schemas
    from tuneledger.cli.presenting import counted, print_line

    place = existing(location(db, schema, note=False))
    with _opened(place, read_only=True) as engine:
        found = _status(engine)
        error = found.error(str(place))
        if error is not None and not isinstance(error, SchemaBroken):
            raise error
    # Making the tables to compare with is no writing, but a read-only transaction refuses it.
    with _opened(place) as engine:
        differences = schemas.drift(engine)
    for line in differences:
        print_line(line)
    if error is not None or differences:
        raise error or SchemaBroken(
            f"{place} differs in {counted(len(differences), 'place')} from what revision {found.revision} "
            f"makes; "
            f"see above, then undo what somebody changed, or restore a backup"
        )
    print_line(f"{place} is ready, at revision {found.revision}")


@db_app.command()
def distribute(
    *,
    shards: Annotated[
        int | None,
        typer.Option("--shards", metavar="N", help="In how many parts; as Citus is set, if not given."),
    ] = None,
    db: Db = None,
    schema: Schema = None,
    as_json: AsJson = False,
) -> None:
    """Spread a PostgreSQL archive over the nodes of Citus, each job whole on one; any number of times.

    Writers wait meanwhile. What later upgrades add is distributed by them.
    """
    from tuneledger import schema as schemas

    with _opened(existing(location(db, schema, note=not as_json))) as engine:
        found = schemas.distribute(engine, shards=shards)
    _tell_distribution(found, as_json=as_json)  # pragma: no cover - only where Citus is


def _tell_distribution(found: Distribution, *, as_json: bool) -> None:
    from tuneledger.cli.presenting import counted, print_json, print_line

    if as_json:
        print_json(asdict(found))
        return
    done = f"distributed {', '.join(found.distributed)}" if found.distributed else "is distributed already"
    print_line(
        f"{done}: {counted(found.shards, 'shard')} on {counted(found.nodes, 'node')} of Citus {found.citus}"
    )


@db_app.command()
def drop(*, yes: Yes = False, db: Db = None, schema: Schema = None) -> None:
    """Drop the archive's tables and views with all they hold, and nothing else.

    On PostgreSQL the schema goes too, if it is empty then; an SQLite file stays, empty.
    """
    from tuneledger import schema as schemas
    from tuneledger.cli.presenting import counted, print_line

    place = existing(location(db, schema))
    with _opened(place) as engine:
        held = schemas.holdings(engine)
        jobs = "an unknown number of jobs" if held.jobs is None else counted(held.jobs, "job")
        if not confirmed(f"Drop {', '.join(held.ours)} with {jobs} from {place}?", yes=yes):
            _declined()
        dropped = schemas.drop(engine)
    print_line(f"dropped {', '.join(dropped.ours)}")
    if dropped.others:
        print_line(f"left alone: {', '.join(dropped.others)}")


def _declined() -> NoReturn:
    log.error("nothing was changed")
    raise typer.Exit(exit_codes.REFUSED)


def _tell_backup(path: Path) -> None:
    log.info("backup: %s", path)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """Give what shows how far a migration is, on a terminal as a bar, else as lines seldom enough to read."""
    import sys
    import time

    if not sys.stderr.isatty():
        said = time.monotonic()

        def say(done: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                log.info("%d of %d jobs", done, total)

        yield say
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("jobs", total=None, start=False)

        def show(done: int, total: int) -> None:
            progress.start_task(task)
            progress.update(task, completed=done, total=total)

        yield show


_SECONDS_BETWEEN_LINES = 2.0


def _status(engine: Engine) -> Status:
    from tuneledger import schema as schemas
    from tuneledger.engine import READING, translated

    with translated(), engine.connect().execution_options(**READING) as connection:
        return schemas.status(connection)


@contextmanager
def _opened(place: Location, *, read_only: bool = False) -> Iterator[Engine]:
    from tuneledger.engine import open_engine

    engine = open_engine(place, read_only=read_only)
    try:
        yield engine
    finally:
        engine.dispose()
